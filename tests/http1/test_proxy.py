"""Our proxy against the corpus: it refuses, or forwards what every independent reader reads the same.

Each entry is sent whole, and again in pieces, byte by byte unless it is long: where a read ends must not change what
is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.http1.corpus import BY_NAME, ENTRIES
from tests.http1.exchange import PATIENCE_S, Exchange, Lane, exchange_all
from tests.http1.judge import Readings, message, problems, read_all
from tests.http1.references import recorders
from tests.support.process import start_proxy

MAX_PIECES = 2000


@dataclass(frozen=True, slots=True)
class Played:
    """The whole corpus through the proxy, delivered one way."""

    exchanges: Mapping[str, Exchange]
    readings: Readings


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lane]]:
    """One proxy: each lane is a listener of its own, routed to a cluster of its own, so that bytes have one origin."""
    with recorders() as backends:
        numbered = {f"lane{number}": backend for number, backend in enumerate(backends)}
        config = {
            "listeners": [{"name": name, "protocol": "http1"} for name in numbered],
            "clusters": [
                {"name": name, "protocol": "detect", "static": {"endpoints": [{"address": backend.address}]}}
                for name, backend in numbered.items()
            ],
            "routes": [{"match": {"listener": name}, "cluster": name} for name in numbered],
        }
        with start_proxy(config, tmp_path_factory.mktemp("proxy")) as proxy:
            yield [Lane(proxy.listener(name), backend) for name, backend in numbered.items()]


@pytest.fixture(scope="module", params=["whole", "in pieces"])
def played(request: pytest.FixtureRequest, lanes: list[Lane], references: Mapping[str, Sequence[Lane]]) -> Played:
    pieces = MAX_PIECES if request.param == "in pieces" else 1
    messages = {entry.name: message(entry, PATIENCE_S, len(entry.sent) // pieces + 1) for entry in ENTRIES}
    exchanges = exchange_all(lanes, messages)
    return Played(exchanges, read_all(exchanges, references))


@pytest.mark.parametrize("name", BY_NAME)
def test_is_refused_or_read_the_same_by_all(name: str, played: Played) -> None:
    found = problems(BY_NAME[name], played.exchanges[name], played.readings)
    assert not found, "\n".join(found)


def test_an_upgrade_to_h2c_does_not_reach_the_backend(played: Played) -> None:
    for name in (name for name in BY_NAME if name.startswith("upgrade-h2c")):
        for forwarded in played.exchanges[name].forwarded:
            lowered = forwarded.data.lower()
            assert b"h2c" not in lowered and b"http2-settings" not in lowered, name
