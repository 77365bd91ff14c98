"""Results on disk and their statistics: one JSON file per scenario, with the machine it was made on.

Medians, because a disturbed round must not count; ratios round by round, because machines drift between
rounds.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.rounds import Sample


@dataclass(frozen=True, slots=True)
class Results:
    """Everything a scenario gave. `seconds` is the measured time of one sample."""

    scenario: str
    started: str
    rounds: int
    seconds: float
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    samples: list[Sample]

    def save(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"{self.scenario}.json"
        file.write_text(json.dumps(rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n")
        return file


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def load(file: Path) -> Results:
    fields = json.loads(file.read_text())
    samples = [Sample(**sample) for sample in fields.pop("samples")]
    return Results(**fields, samples=samples)


def spread(samples: Iterable[Sample], case: str, contender: str, key: str) -> Spread | None:
    """The figure of one contender over the rounds; None when it has none."""
    return _spread(list(_by_round(samples, case, contender, key).values()))


def ratio(samples: Iterable[Sample], case: str, ours: str, theirs: str, key: str) -> Spread | None:
    """Our figure over theirs, taken within each round; None when no round has both."""
    samples = list(samples)
    above, below = (_by_round(samples, case, contender, key) for contender in (ours, theirs))
    return _spread([above[n] / below[n] for n in above.keys() & below.keys() if below[n] > 0])


def _by_round(samples: Iterable[Sample], case: str, contender: str, key: str) -> dict[int, float]:
    return {
        sample.round_number: sample.values[key]
        for sample in samples
        if sample.case == case and sample.contender == contender and key in sample.values
    }


def _spread(values: list[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def rounded(value: object) -> object:
    """Four digits after the point are more than any figure here is worth."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
