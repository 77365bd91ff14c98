"""A thousand streams that are open and silent: what a proxy's memory costs."""

import time

from benchmarks.backend import BackendOptions
from benchmarks.fleet import Fleet, fleet
from benchmarks.load import Shape
from benchmarks.peers import PEERS, Contender, default
from benchmarks.scenarios import Case, Measured, Metric, Pace, Scenario

SHAPE = Shape(10, 100)
OPEN_TIMEOUT_S = 60.0


def measure(contender: Contender, pace: Pace) -> Measured:
    settle_s = 0.2 if pace.smoke else 1.0
    with fleet(contender, BackendOptions()) as running:
        time.sleep(settle_s)
        idle = running.memory_mb()
        with running.client().calls(SHAPE, SHAPE.in_flight, "Hold"):
            opened = wait_for_streams(running, SHAPE.in_flight)
            time.sleep(settle_s)
            loaded = running.memory_mb()
        values = {f"idle_{key}": value for key, value in idle.items()}
        values |= {f"open_{key}": value for key, value in loaded.items()}
        if idle:
            values["kb_per_stream"] = (loaded["rss_mb"] - idle["rss_mb"]) * 1e3 / SHAPE.in_flight
        wrong = opened != SHAPE.in_flight
        return Measured(values, [f"{opened} of {SHAPE.in_flight} streams were open"] if wrong else [])


def wait_for_streams(fleet: Fleet, wanted: int) -> int:
    """The streams open at the backends: `wanted`, or what there is when the time is over."""
    deadline_s = time.monotonic() + OPEN_TIMEOUT_S
    while True:
        opened = sum(count.open_streams for count in fleet.read().counts)
        if opened == wanted or time.monotonic() > deadline_s:
            return opened
        time.sleep(0.05)


SCENARIO = Scenario(
    name="open_streams",
    title="1,000 open streams",
    text=(
        "Ten connections with a hundred streams each; headers and one message went through, and now all are "
        "silent. RSS counts pages that two processes share twice, PSS once: look there at those with workers."
    ),
    metrics=(
        Metric("idle_rss_mb", "RSS idle, MB", 1),
        Metric("open_rss_mb", "RSS with the streams, MB", 1),
        Metric("open_pss_mb", "PSS with the streams, MB", 1),
        Metric("kb_per_stream", "KB a stream", 1),
    ),
    cases=(Case("10x100", tuple(default(peer) for peer in PEERS if peer.template), measure),),
)
