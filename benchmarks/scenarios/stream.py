"""One gigabyte in four server streams: what a byte costs."""

from benchmarks.backend import BackendOptions
from benchmarks.fleet import fleet
from benchmarks.load import Shape
from benchmarks.peers import PEERS, Contender, default
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario

SHAPE = Shape(2, 2)
STREAMS = SHAPE.in_flight
TOTAL_BYTES, SMOKE_BYTES = 1_000_000_000, 40_000_000
MESSAGE_BYTES, PREFIX_BYTES = 16384, 5


def measure(contender: Contender, pace: Pace) -> Measured:
    total = SMOKE_BYTES if pace.smoke else TOTAL_BYTES
    messages = -(-total // STREAMS // MESSAGE_BYTES)
    with fleet(contender, BackendOptions(stream_bytes=messages * MESSAGE_BYTES)) as running:
        before = running.read()
        with running.client().calls(SHAPE, STREAMS, "Stream") as load:
            result = load.result(timeout_s=120)
        after = running.read()
        expected = STREAMS * messages * (MESSAGE_BYTES + PREFIX_BYTES)
        problems = running.problems(result, after)
        if result.data_bytes != expected:
            problems.append(f"{result.data_bytes} bytes arrived instead of {expected}")
        values = {"mb_per_s": expected / 1e6 / (after.at_s - before.at_s), **running.memory_mb()}
        if running.proxy:
            values["cpu_s_per_gb"] = (after.proxy.ran_ns - before.proxy.ran_ns) / expected
        return Measured(values, problems)


SCENARIO = Scenario(
    name="stream",
    title="1 GB streamed",
    text=(
        "Four server streams of 250 MB in messages of 16 KiB, two on each of two connections. "
        "The client grants 64 KiB to a stream and 1 MiB to a connection. RSS is taken right after it."
    ),
    metrics=(
        Metric("cpu_s_per_gb", "CPU, s/GB", 3, compared=True),
        Metric("mb_per_s", "MB/s", 0, compared=True),
        Metric("rss_mb", "RSS, MB", 1),
    ),
    cases=(Case("1 GB", tuple(default(peer) for peer in PEERS), measure),),
)
