"""Shows how each reader and each reference proxy reads the corpus: python -m tests.http1 [PART OF A NAME]

One line for each entry: how many requests each found, "!" where it refused; for the proxies how many their backend got,
the statuses they answered with, and "x" where they closed. Of up to three entries, every request is shown as well.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.http1.corpus import ENTRIES, Entry
from tests.http1.exchange import Exchange, exchange_all
from tests.http1.judge import message, reading_behind
from tests.http1.readers import READERS
from tests.http1.references import REFERENCES, program
from tests.http1.strict import Reading

# By entry: what was found, and the same in a few characters.
Column = Mapping[str, tuple[Reading, str]]


def _columns(entries: Sequence[Entry]) -> Iterator[tuple[str, Column]]:
    for name, reader in READERS.items():
        readings = {entry.name: reader(entry.sent) for entry in entries}
        yield (
            name,
            {key: (found, f"{len(found.requests)}{'!' * bool(found.refused)}") for key, found in readings.items()},
        )
    for name, start in REFERENCES.items():
        if program(name):
            with contextlib.ExitStack() as running:
                lanes = running.enter_context(start(Path(running.enter_context(tempfile.TemporaryDirectory()))))
                exchanges = exchange_all(lanes, {entry.name: message(entry, patience_s=0.3) for entry in entries})
            yield name, {key: (reading_behind(exchange), _brief(exchange)) for key, exchange in exchanges.items()}


def _brief(exchange: Exchange) -> str:
    statuses = ",".join(map(str, exchange.statuses[:3])) + ("..." if len(exchange.statuses) > 3 else "")
    return f"{len(reading_behind(exchange).requests)} {statuses}{'x' if exchange.closed else ''}"


def main(part: str) -> None:
    entries = [entry for entry in ENTRIES if part in entry.name]
    columns = dict(_columns(entries))
    print(f"{'entry':36}{'verdict':10}" + "".join(f"{name:18}" for name in columns))
    for entry in entries:
        found = {name: column[entry.name] for name, column in columns.items()}
        print(f"{entry.name:36}{entry.verdict.name.lower():10}" + "".join(f"{brief:18}" for _, brief in found.values()))
        if len(entries) > 3:
            continue
        print(f"    sent: {entry.sent[:1000]!r}")
        for name, (reading, _) in found.items():
            for line in (*map(str, reading.requests), *([reading.refused] if reading.refused else [])):
                print(f"    {name}: {line}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
