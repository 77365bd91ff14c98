"""TCP as bytes: what a megabyte, a round trip and a new connection cost a relay."""

from functools import partial

from benchmarks import tcp
from benchmarks.fleet import Fleet, Reading, fleet
from benchmarks.peers import Contender
from benchmarks.peers.tcp import CONTENDERS
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario, cpu, window
from benchmarks.tcp import OPENING_BYTES, Exchanges, Summary, TcpService

BULK_CONNECTIONS = 4
BULK_BYTES, SMOKE_BYTES = 1_000_000_000, 10_000_000
"""On each connection."""
CONNECTIONS = 32


def bulk(contender: Contender, pace: Pace, *, up: bool) -> Measured:
    """Much in one direction: an answer with a small request, or a request with a small answer."""
    each = SMOKE_BYTES if pace.smoke else BULK_BYTES
    requests, answers = (each, OPENING_BYTES) if up else (OPENING_BYTES, each)
    with fleet(contender, TcpService()) as running:
        before = running.read()
        exchanges = Exchanges(BULK_CONNECTIONS, count=BULK_CONNECTIONS, request_bytes=requests, answer_bytes=answers)
        with tcp.load(running.port, running.directory, exchanges) as load:
            summary = load.summary(timeout_s=120)
        after = running.read()
        megabytes = BULK_CONNECTIONS * each / 1e6
        values = {"mb_per_s": megabytes / (after.at_s - before.at_s), **running.memory_mb()}
        if running.proxy:
            values["mb_per_cpu_s"] = megabytes / ((after.proxy.ran_ns - before.proxy.ran_ns) / 1e9)
            values["waited_percent"] = cpu(running, before, after)["waited_percent"]
        problems = running.problems(summary.result, after)
        if summary.result.succeeded != BULK_CONNECTIONS:
            problems.append(f"{summary.result.succeeded} of {BULK_CONNECTIONS} connections got through")
        return Measured(values, problems)


def ping_pong(contender: Contender, pace: Pace) -> Measured:
    with fleet(contender, TcpService()) as running:
        before, after, summary = _loaded(running, Exchanges(CONNECTIONS, seconds=pace.total_s), pace)
        values = _named("round_trip", "round_trips_per_s", running, before, after, summary)
        return Measured(values, running.problems(summary.result, running.read()))


def connect(contender: Contender, pace: Pace) -> Measured:
    """Connections that live for one exchange. Relays balance connections, so here the balance is checked."""
    exchanges = Exchanges(CONNECTIONS, seconds=pace.total_s, reconnect=True)
    with fleet(contender, TcpService()) as running:
        before, after, summary = _loaded(running, exchanges, pace)
        end = running.read()
        values = _named("connection", "connections_per_s", running, before, after, summary)
        return Measured(
            values, running.problems(summary.result, end) + running.imbalance(end, CONNECTIONS, timed=not pace.smoke)
        )


def _loaded(running: Fleet, exchanges: Exchanges, pace: Pace) -> tuple[Reading, Reading, Summary]:
    with tcp.load(running.port, running.directory, exchanges) as load:
        before, after = window(running, pace)
        return before, after, load.summary(pace.total_s + 30)


def _named(what: str, rate: str, running: Fleet, before: Reading, after: Reading, summary: Summary) -> dict[str, float]:
    """The figures under names of their own: an exchange is another thing in each case."""
    values = cpu(running, before, after)
    if "cpu_us_per_call" in values:
        values[f"cpu_us_per_{what}"] = values.pop("cpu_us_per_call")
    values[rate] = (after.calls - before.calls) / (after.at_s - before.at_s)
    values |= {"p50_ms": summary.p50_ms, "p99_ms": summary.p99_ms}
    return values | running.memory_mb()


SCENARIO = Scenario(
    name="tcp",
    title="TCP",
    text=(
        "*Down* and *up*: four connections with 1 GB each, from a backend to the client or the other way. *Ping-pong*: "
        "64 bytes there and back, as fast as they are answered, on each of 32 connections. *Connect*: the same "
        "exchange once on each connection; 32 are open at a time, and the backend closes first. *Splice* is HAProxy "
        "with `option splice-auto`, where bytes stay in the kernel."
    ),
    metrics=(
        Metric("mb_per_cpu_s", "MB per CPU second", 0, compared=True),
        Metric("mb_per_s", "MB/s", 0, compared=True),
        Metric("cpu_us_per_round_trip", "CPU per round trip, µs", 2, compared=True),
        Metric("round_trips_per_s", "round trips/s", 0, compared=True),
        Metric("cpu_us_per_connection", "CPU per connection, µs", 1, compared=True),
        Metric("connections_per_s", "connections/s", 0, compared=True),
        Metric("p50_ms", "p50, ms", 3),
        Metric("p99_ms", "p99, ms", 3),
        Metric("busy_percent", "busy, %", 0),
        Metric("rss_mb", "RSS, MB", 1),
    ),
    cases=(
        Case("down", CONTENDERS, partial(bulk, up=False)),
        Case("up", CONTENDERS, partial(bulk, up=True)),
        Case("ping-pong", CONTENDERS, ping_pong),
        Case("connect", CONTENDERS, connect),
    ),
    load_program="",
)
