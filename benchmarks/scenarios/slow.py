"""One of three backends becomes ten times slower: who still sends calls there?"""

import time
from functools import partial

from benchmarks.backend import BackendOptions
from benchmarks.fleet import fleet
from benchmarks.peers import BY_NAME, Contender, balanced
from benchmarks.process import sleep_until
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario
from benchmarks.scenarios.latency import CALLS_PER_S, percentiles_ms

DELAY_US = 2_000
SLOW_DELAY_US = 20_000
SLOW = 0
"""The backend that becomes slow."""
BEFORE_S, FIRST_S = 5.0, 1.0
"""All are equally fast; then one is slow, and its first second is counted apart."""
BLIND_SHARE_PERCENT = (25, 42)
FEWEST_CALLS = 500
"""Of which a share says something."""

CONTENDERS = (
    *(balanced(BY_NAME["meshctl"], name) for name in BY_NAME["meshctl"].balancers),
    balanced(BY_NAME["envoy"], "least_request"),
    balanced(BY_NAME["haproxy"], "least_request"),
)


def share_of_slow(earlier: list[int], later: list[int]) -> float:
    """The percentage of the calls between two counts that the slow backend got."""
    got = [b - a for a, b in zip(earlier, later, strict=True)]
    return 100 * got[SLOW] / max(1, sum(got))


def measure(contender: Contender, pace: Pace, *, calls_per_s: int) -> Measured:
    options = BackendOptions(delay_us=DELAY_US, slow_delay_us=SLOW_DELAY_US)
    before_s = 1.0 if pace.smoke else BEFORE_S
    total_s = before_s + FIRST_S + pace.measured_s + pace.tail_s
    with fleet(contender, options) as running:
        with running.client().at_rate(calls_per_s, total_s) as load:
            started_s = time.monotonic()
            epoch_s = time.time() - started_s
            sleep_until(started_s + before_s)
            slow_s = time.monotonic()
            slow_counts = [count.calls for count in running.read().counts]
            running.backends[SLOW].slow_down()
            sleep_until(slow_s + FIRST_S)
            first_counts = [count.calls for count in running.read().counts]
            sleep_until(slow_s + FIRST_S + pace.measured_s)
            last_counts = [count.calls for count in running.read().counts]
            result = load.result(total_s + 30)
        end = running.read()
        from_s = epoch_s + slow_s + FIRST_S
        values = {
            "first_share_percent": share_of_slow(slow_counts, first_counts),
            "share_percent": share_of_slow(first_counts, last_counts),
            **percentiles_ms(load.latencies(), from_s, from_s + pace.measured_s),
        }
        problems = running.problems(result, end)
        if sum(last_counts) - sum(first_counts) >= FEWEST_CALLS:
            problems += wrong_share(contender, values["share_percent"])
        return Measured(values, problems)


def wrong_share(contender: Contender, share_percent: float) -> list[str]:
    """Who balances without regard to latency sends a third to each. Of the others nothing is demanded here:
    on a machine that is not idle, fast backends look slow too."""
    low, high = BLIND_SHARE_PERCENT
    if contender.balancer not in {"round_robin", "random"} or low < share_percent < high:
        return []
    return [f"{share_percent:.0f} % of the calls went to the slow backend, not a third"]


SCENARIO = Scenario(
    name="slow",
    title="One of three backends becomes 10 x slower",
    text=(
        f"{CALLS_PER_S:,} calls a second. Each backend answers after {DELAY_US // 1000} ms; after "
        f"{BEFORE_S:.0f} s one of them needs {SLOW_DELAY_US // 1000} ms from then on. Counted are its "
        "share of the calls in the first second after that, then its share and all latencies."
    ),
    metrics=(
        Metric("first_share_percent", "calls to the slow one in the first second, %", 1),
        Metric("share_percent", "after it, %", 1),
        Metric("p50_ms", "p50, ms", 2),
        Metric("p99_ms", "p99, ms", 2),
    ),
    cases=(Case("one of three slow", CONTENDERS, partial(measure, calls_per_s=CALLS_PER_S)),),
)
