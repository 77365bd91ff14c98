"""The scene of every attack: a proxy process, a well-behaved client beside the attacker, and what must hold afterwards.

Owns the proxy's configuration and the promises of an attack's end: the neighbour lost no call and got answers all the
time, the proxy counted no fault of its own, and its memory is back. What the attacker does is the test's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.echo import EchoServer, Load
from tests.support.memory import SANITIZER_BYTES, rss_bytes
from tests.support.process import ProxyProcess, start_proxy
from tests.support.waiting import PATIENCE_S, wait_until

HEADER_TIMEOUT_S = 1
RSS_GROWTH_BYTES = 20 * 2**20 + SANITIZER_BYTES
RSS_SETTLES_S = 30
NEIGHBOUR_ANSWERS = 20  # how many the neighbour must get during and after each attack, at least
NEIGHBOUR_THREADS = 2


def configuration(
    healthy: str, hostile: Mapping[str, str] | None = None, limits_s: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Calls under /NAME/ go to the address `hostile` gives NAME, all others to `healthy` ("host:port" each).

    `limits_s` is how long calls to NAME may take; the others may take longer than any judgement of their endpoint.
    """
    clusters: list[dict[str, Any]] = [{"name": "healthy", "static": {"endpoints": [{"address": healthy}]}}]
    routes: list[dict[str, Any]] = []
    for name, address in (hostile or {}).items():
        clusters.append({"name": name, "failfast_s": 0.5, "static": {"endpoints": [{"address": address}]}})
        limit_s = (limits_s or {}).get(name, 2 * PATIENCE_S)
        routes.append({"match": {"path_prefix": f"/{name}/"}, "cluster": name, "timeout_s": limit_s})
    return {
        "shutdown_grace_s": 0.2,
        "limits": {"header_timeout_s": HEADER_TIMEOUT_S},
        "listeners": [{"name": "outbound"}],
        "clusters": clusters,
        "routes": [*routes, {"cluster": "healthy"}],
    }


@dataclass(frozen=True, slots=True)
class Scene:
    """A running proxy with the well-behaved client beside it."""

    proxy: ProxyProcess
    neighbour: Load

    @property
    def address(self) -> str:
        return self.proxy.listener("outbound")

    def cuts(self, reason: str | None = None) -> float:
        """How many clients the proxy says it cut, for `reason` if given."""
        labels = {} if reason is None else {"reason": reason}
        return self.proxy.metric("meshctl_downstream_cuts_total", **labels)

    def rss_bytes(self) -> int:
        return rss_bytes(self.proxy.pid)

    @contextmanager
    def attacked(self, cut_as: str | None = None) -> Iterator[None]:
        """Around an attack: checks afterwards all that must hold; `cut_as` is the reason the metric must give."""
        lost = len(self.neighbour.failures)
        answered = self.neighbour.answered
        cuts = self.cuts(cut_as)
        faults = self.proxy.metric("meshctl_faults_total")
        before_bytes = self.rss_bytes()
        yield
        if self.neighbour.answered - answered < NEIGHBOUR_ANSWERS:
            self.neighbour.wait_for_answers(NEIGHBOUR_ANSWERS)
        assert self.neighbour.failures[lost:] == [], "the neighbour lost calls"
        assert self.proxy.metric("meshctl_faults_total") == faults, "a fault in the data plane"
        if cut_as is not None:
            assert self.cuts(cut_as) > cuts, f"the metric tells of no cut for {cut_as}"
        self.wait_for_rss(before_bytes)

    def wait_for_rss(self, before_bytes: int) -> None:
        """Waits until the proxy's memory is back, give or take what an allocator keeps."""
        wait_until(
            lambda: self.rss_bytes() - before_bytes <= RSS_GROWTH_BYTES,
            f"RSS within {RSS_GROWTH_BYTES} bytes of {before_bytes}",
            RSS_SETTLES_S,
            0.1,
        )

    def wait_for_calls_in_flight(self, timeout_s: float = PATIENCE_S) -> None:
        """Waits until no more calls are in flight than the neighbour's: those of a cut client are cancelled at once."""
        wait_until(
            lambda: self.proxy.metric("meshctl_calls_in_flight") <= NEIGHBOUR_THREADS,
            "only the neighbour's calls in flight",
            timeout_s,
            0.02,
        )


@contextmanager
def scene(
    echo: EchoServer,
    directory: Path,
    hostile: Mapping[str, str] | None = None,
    limits_s: Mapping[str, float] | None = None,
) -> Iterator[Scene]:
    """A proxy before `echo` and the `hostile` clusters, with a neighbour that calls `echo` all the time."""
    with start_proxy(configuration(echo.address, hostile, limits_s), directory) as proxy:
        address = proxy.listener("outbound")
        with Load(address, threads=NEIGHBOUR_THREADS, pause_s=0.003) as neighbour:
            neighbour.wait_for_answers(NEIGHBOUR_ANSWERS)
            yield Scene(proxy, neighbour)
