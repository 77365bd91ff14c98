"""What is measured. Each module here defines one `Scenario`; `benchmarks.rounds` runs them.

A scenario has cases (a shape of load, say), each with its contenders, and a function that measures one
contender once. It starts everything anew, so rounds are independent of each other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fleet import Fleet, Reading
from benchmarks.peers import Contender
from benchmarks.process import sleep_until


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to load before measuring, to measure, and to go on, so that the end is not measured."""

    warm_up_s: float
    measured_s: float
    smoke: bool = False
    tail_s: float = 0.3

    @property
    def total_s(self) -> float:
        return self.warm_up_s + self.measured_s + self.tail_s


FULL = Pace(warm_up_s=1.0, measured_s=3.0)
SMOKE = Pace(warm_up_s=0.2, measured_s=0.5, smoke=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: figures by metric key, and what went wrong in it."""

    values: dict[str, float]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a scenario. `compared` adds a table of ratios to the peers."""

    key: str
    title: str
    digits: int = 1
    compared: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """`measure` takes a contender and the pace. `in_smoke` marks the cases a smoke test runs."""

    name: str
    contenders: tuple[Contender, ...]
    measure: Callable[[Contender, Pace], Measured]
    in_smoke: bool = True


@dataclass(frozen=True, slots=True)
class Scenario:
    """`text` explains the figures to the reader of the report.

    `over_direct` gives new metrics from old: the contender's figure less that of no proxy in the same round.
    `most_rounds` is for long scenarios whose figures are counts, which do not drift with the machine.
    `load_program` is what its load comes from, if that has to be installed.
    """

    name: str
    title: str
    text: str
    metrics: tuple[Metric, ...]
    cases: tuple[Case, ...]
    over_direct: tuple[tuple[str, str], ...] = ()
    most_rounds: int | None = None
    load_program: str = "h2load"


def window(fleet: Fleet, pace: Pace) -> tuple[Reading, Reading]:
    """Readings at the start and the end of the measured time, for a load that starts now."""
    started_s = time.monotonic()
    sleep_until(started_s + pace.warm_up_s)
    before = fleet.read()
    sleep_until(started_s + pace.warm_up_s + pace.measured_s)
    return before, fleet.read()


def cpu(fleet: Fleet, before: Reading, after: Reading) -> dict[str, float]:
    """What the proxy used between two readings: per call, and as a share of its core.

    `waited_percent` is the time it was ready to run and something else had its core: noise, if not small.
    Empty without a proxy.
    """
    if fleet.proxy is None:
        return {}
    ran_ns = after.proxy.ran_ns - before.proxy.ran_ns
    waited_ns = after.proxy.waited_ns - before.proxy.waited_ns
    wall_ns = (after.at_s - before.at_s) * 1e9
    return {
        "cpu_us_per_call": ran_ns / 1e3 / max(1, after.calls - before.calls),
        "busy_percent": 100 * ran_ns / wall_ns,
        "waited_percent": 100 * waited_ns / wall_ns,
    }
