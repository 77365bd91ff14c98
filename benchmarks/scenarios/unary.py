"""Unary calls as fast as they are answered: what a call costs, and how many a core can do."""

from functools import partial

from benchmarks.backend import BackendOptions
from benchmarks.fleet import fleet
from benchmarks.load import Shape
from benchmarks.peers import PEERS, Contender, default
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario, cpu, window

SHAPES = (Shape(1, 1), Shape(4, 32), Shape(10, 100))
SIZES = {"32 B": 32, "16 KiB": 16384}


def measure(contender: Contender, pace: Pace, *, shape: Shape, message_bytes: int) -> Measured:
    with fleet(contender, BackendOptions(reply_bytes=message_bytes)) as running:
        with running.client(message_bytes).for_seconds(shape, pace.total_s) as load:
            before, after = window(running, pace)
            result = load.result(pace.total_s + 30)
        end = running.read()
        values = {
            **cpu(running, before, after),
            "calls_per_s": (after.calls - before.calls) / (after.at_s - before.at_s),
            **running.memory_mb(),
        }
        problems = running.problems(result, end, unfinished=shape.in_flight)
        return Measured(values, problems + running.imbalance(end, shape.in_flight, timed=not pace.smoke))


SCENARIO = Scenario(
    name="unary",
    title="Unary calls, as fast as they are answered",
    text=(
        "Request and reply each carry one message of the size given; a shape is connections x calls in "
        "flight on each. *Busy* is the share of its core that the proxy used: below 100 %, the client or the "
        "backends on the other core were the limit, and calls a second say less than CPU per call."
    ),
    metrics=(
        Metric("cpu_us_per_call", "CPU per call, µs", 2, compared=True),
        Metric("calls_per_s", "calls/s", 0, compared=True),
        Metric("busy_percent", "busy, %", 0),
        Metric("rss_mb", "RSS, MB", 1),
    ),
    cases=tuple(
        Case(
            f"{size}, {shape}",
            tuple(default(peer) for peer in PEERS),
            partial(measure, shape=shape, message_bytes=message_bytes),
            in_smoke=(size, str(shape)) in {("32 B", "10x100"), ("16 KiB", "4x32")},
        )
        for size, message_bytes in SIZES.items()
        for shape in SHAPES
    ),
)
