"""HTTP/1.1 requests over connections that stay open: what a request costs, and how many a core can do."""

from dataclasses import dataclass
from functools import partial

from benchmarks.fleet import fleet
from benchmarks.http1 import Http1Service, wrk
from benchmarks.peers import Contender, default
from benchmarks.peers.http1 import PEERS
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario, cpu, window

CONNECTIONS = (1, 32, 256)
IN_SMOKE = {("GET 32 B", 256), ("POST 16 KiB", 32)}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The bytes of a request's body and of its reply's."""

    request: int
    reply: int


KINDS = {"GET 32 B": Sizes(0, 32), "POST 16 KiB": Sizes(16384, 16384)}


def measure(contender: Contender, pace: Pace, *, connections: int, sizes: Sizes) -> Measured:
    with fleet(contender, Http1Service(sizes.reply)) as running:
        with wrk(running.port, running.directory, connections, sizes.request, pace.total_s) as load:
            before, after = window(running, pace)
            summary = load.summary(pace.total_s + 30)
        end = running.read()
        values = {
            **cpu(running, before, after),
            "requests_per_s": (after.calls - before.calls) / (after.at_s - before.at_s),
            "p50_ms": summary.p50_ms,
            "p99_ms": summary.p99_ms,
            **running.memory_mb(),
        }
        problems = running.problems(summary.result, end, unfinished=connections)
        return Measured(values, problems + running.imbalance(end, connections, timed=not pace.smoke))


SCENARIO = Scenario(
    name="http1",
    title="HTTP/1.1, as fast as it is answered",
    text=(
        "wrk with one request in flight on each of 1, 32 and 256 connections, which stay open: GET with a reply of "
        "32 bytes, and POST of 16 KiB with a reply as large. *Busy* is the share of its core that the proxy used: "
        "below 100 %, wrk or the backends on the other core were the limit. Latencies of many connections are "
        "mostly the time that requests wait for each other: they follow from requests a second."
    ),
    metrics=(
        Metric("cpu_us_per_call", "CPU per request, µs", 2, compared=True),
        Metric("requests_per_s", "requests/s", 0, compared=True),
        Metric("p50_ms", "p50, ms", 3),
        Metric("p99_ms", "p99, ms", 3),
        Metric("busy_percent", "busy, %", 0),
        Metric("rss_mb", "RSS, MB", 1),
    ),
    cases=tuple(
        Case(
            f"{kind}, {connections}",
            tuple(default(peer) for peer in PEERS),
            partial(measure, connections=connections, sizes=sizes),
            in_smoke=(kind, connections) in IN_SMOKE,
        )
        for kind, sizes in KINDS.items()
        for connections in CONNECTIONS
    ),
    load_program="wrk",
)
