"""Unary calls at a fixed rate that all peers manage with ease: the time a proxy adds to a call."""

import time
from dataclasses import replace
from functools import partial

from benchmarks.backend import BackendOptions
from benchmarks.fleet import fleet
from benchmarks.load import Latency, percentile
from benchmarks.peers import PEERS, Contender, default
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario, cpu, window

CALLS_PER_S = 2000


def percentiles_ms(latencies: list[Latency], from_s: float, to_s: float) -> dict[str, float]:
    """p50, p99 and p99.9 of the calls that were sent in that time (seconds since the epoch)."""
    took_ms = sorted(call.took_s * 1e3 for call in latencies if from_s <= call.started_s < to_s)
    if not took_ms:
        return {}
    return {
        "p50_ms": percentile(took_ms, 0.5),
        "p99_ms": percentile(took_ms, 0.99),
        "p999_ms": percentile(took_ms, 0.999),
    }


def measure(contender: Contender, pace: Pace, *, calls_per_s: int) -> Measured:
    # Twice as long as other scenarios: p99.9 needs the calls.
    pace = replace(pace, measured_s=2 * pace.measured_s)
    with fleet(contender, BackendOptions()) as running:
        with running.client().at_rate(calls_per_s, pace.total_s) as load:
            started_s = time.time() + pace.warm_up_s
            before, after = window(running, pace)
            result = load.result(pace.total_s + 30)
        end = running.read()
        latencies = percentiles_ms(load.latencies(), started_s, started_s + pace.measured_s)
        values = {**latencies, **cpu(running, before, after)}
        return Measured(
            values, running.problems(result, end) + running.imbalance(end, in_flight=1, timed=not pace.smoke)
        )


SCENARIO = Scenario(
    name="latency",
    title=f"Unary calls at {CALLS_PER_S:,} a second",
    text=(
        "Messages of 32 bytes over 20 connections, two calls every millisecond. Latency is taken per call by "
        "h2load, from sending it to its end. *Added* is the contender's figure less that of no proxy in the "
        "same round."
    ),
    metrics=(
        Metric("p50_ms", "p50, ms", 3),
        Metric("p99_ms", "p99, ms", 3),
        Metric("p999_ms", "p99.9, ms", 3),
        Metric("added_p50_ms", "added p50, ms", 3),
        Metric("added_p99_ms", "added p99, ms", 3, compared=True),
        Metric("cpu_us_per_call", "CPU per call, µs", 1, compared=True),
    ),
    cases=(
        Case(
            f"{CALLS_PER_S:,} calls/s",
            tuple(default(peer) for peer in PEERS),
            partial(measure, calls_per_s=CALLS_PER_S),
        ),
    ),
    over_direct=(("added_p50_ms", "p50_ms"), ("added_p99_ms", "p99_ms")),
)
