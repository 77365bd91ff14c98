"""The controller with a thousand sidecars: how soon each of them has a change, and what that costs."""

import json
import math
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import BY_NAME, Contender, default
from benchmarks.process import LOAD_CORE, PROXY_CORE, Child
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario

PROCESSES = 2
"""That the sidecars are in."""
SERVICES, ENDPOINTS, NAMES = 100, 20, 10
PER_S = 10.0
WITHIN_MS = 2000.0
SETTLE_S, PATIENCE_S = 3.0, 30.0
"""From the last change until the sidecars are asked, and until what they have not seen by then is missing."""


def different(_contender: Contender, pace: Pace) -> Measured:
    """Each sidecar wants ten of a hundred services, so a change is for a tenth of them."""
    return _measure(pace, SERVICES)


def same(_contender: Contender, pace: Pace) -> Measured:
    """All sidecars want the same ten, and only those change: each change is for all."""
    return _measure(pace, NAMES)


def _measure(pace: Pace, wanted: int) -> Measured:
    sidecars, seconds = (40, 1.0) if pace.smoke else (1000, 30.0)
    changes = int(seconds * PER_S)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshctl-bench-")))
        service = stack.enter_context(
            _python(
                directory / "service.log", PROXY_CORE, "service", services=SERVICES, endpoints=ENDPOINTS,
                changed_services=wanted, changes=changes, per_s=PER_S,
            )
        )  # fmt: skip
        port = int(_line(service))
        empty_mb = service.memory_bytes()[0] / 1e6
        groups = [
            stack.enter_context(
                _python(
                    directory / f"sidecars-{number}.log", LOAD_CORE, "sidecars", port=port,
                    sidecars=sidecars // PROCESSES, names=NAMES, services=wanted,
                )
            )
            for number in range(PROCESSES)
        ]  # fmt: skip
        for group in groups:
            _line(group)
        before, began_s = service.scheduled(), time.monotonic()
        service.signal(signal.SIGUSR1)
        marks = json.loads(_line(service))
        after, ended_s = service.scheduled(), time.monotonic()
        readers = sidecars * NAMES // wanted
        seen = _seen(groups, marks, readers, 0.5 if pace.smoke else SETTLE_S)
        wall_ns = (ended_s - began_s) * 1e9
        values = {
            "busy_percent": 100 * (after.ran_ns - before.ran_ns) / wall_ns,
            "waited_percent": 100 * (after.waited_ns - before.waited_ns) / wall_ns,
            "empty_rss_mb": empty_mb,
            "rss_mb": service.memory_bytes()[0] / 1e6,
        }
    return _judged(seen, values, readers, within_ms=math.inf if pace.smoke else WITHIN_MS)


def _seen(groups: Sequence[Child], marks: Sequence[str], readers: int, settle_s: float) -> dict[str, list[float]]:
    """For each change the times until it was seen; when each has `readers`, or never will."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        time.sleep(settle_s)
        seen: dict[str, list[float]] = {mark.removeprefix("at-"): [] for mark in marks}
        for group in groups:
            group.signal(signal.SIGUSR1)
            for mark, took_ms in json.loads(_line(group)).items():
                seen[mark] += took_ms
        if all(len(took_ms) >= readers for took_ms in seen.values()) or time.monotonic() > deadline_s:
            return seen


def _judged(seen: dict[str, list[float]], values: dict[str, float], readers: int, within_ms: float) -> Measured:
    missing = [mark for mark, took_ms in seen.items() if len(took_ms) != readers]
    problems = [f"{len(missing)} of {len(seen)} changes did not reach each sidecar once"] if missing else []
    last = sorted(max(took_ms) for took_ms in seen.values() if took_ms)
    every = sorted(ms for took_ms in seen.values() for ms in took_ms)
    if not every:
        return Measured(values, ["no change was seen"])
    values |= {
        "median_ms": statistics.median(every),
        "p99_ms": every[int(len(every) * 0.99)],
        "last_median_ms": statistics.median(last),
        "last_ms": last[-1],
    }
    if last[-1] > within_ms:
        problems.append(f"a change took longer than {within_ms:.0f} ms")
    return Measured(values, problems)


def _python(log: Path, core: int, module: str, **options: float) -> Child:
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    argv = [sys.executable, "-m", f"benchmarks.controller.{module}", *given]
    return Child(argv, core=core, log=log, piped=True)


def _line(child: Child) -> str:
    line = child.stdout.readline().decode()
    if not line:
        raise RuntimeError(f"a process ended: {child.said()}")
    return line


_CONTENDERS = (default(BY_NAME["meshctl"]),)

SCENARIO = Scenario(
    name="controller",
    title="The controller: endpoints for 1,000 sidecars",
    text=(
        "One controller serves 2,000 endpoints in 100 services to 1,000 sidecars, a connection each; each wants ten "
        "services. Ten times a second a pod is replaced, for 30 s. *Until a sidecar has it* is over all changes and "
        "sidecars; *until the last has it* over changes."
    ),
    metrics=(
        Metric("median_ms", "Until a sidecar has it, median, ms", 1),
        Metric("p99_ms", "Until a sidecar has it, p99, ms", 1),
        Metric("last_median_ms", "Until the last has it, median, ms", 1),
        Metric("last_ms", "Until the last has it, worst, ms", 1),
        Metric("busy_percent", "CPU, % of a core", 1),
        Metric("empty_rss_mb", "RSS without sidecars, MB", 1),
        Metric("rss_mb", "RSS, MB", 1),
    ),
    cases=(Case("ten of a hundred", _CONTENDERS, different), Case("all the same ten", _CONTENDERS, same)),
    most_rounds=1,
    load_program="",
)
