"""Three backends and one contender in front of them, started anew for every measurement.

A fleet gives the readings that all scenarios share (time, the proxy's CPU time and the servers' counts, taken
together) and the checks that no call was lost, invented or sent to the wrong place.
"""

import contextlib
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.backend import Backend, Count, Service, backends, counts
from benchmarks.load import Client, Result
from benchmarks.peers import Contender
from benchmarks.process import PROXY_CORE, Child, Scheduled

START_TIMEOUT_S = 60.0
PROBE_CALLS = 12
PORTS = range(10_000, 20_000)
LEAST_SHARE = 0.1
"""What each of three equal backends gets at least. Balancers that follow latency are not exactly even."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`proxy` is zeros without one; `counts` are of the three backends since the fleet was ready."""

    at_s: float
    proxy: Scheduled
    counts: tuple[Count, ...]

    @property
    def calls(self) -> int:
        return sum(count.calls for count in self.counts)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A contender that has answered its first call. `proxy` is None when there is no proxy."""

    contender: Contender
    proxy: Child | None
    port: int
    backends: list[Backend]
    directory: Path
    first: tuple[int, ...]

    def client(self, message_bytes: int = 32) -> Client:
        """For gRPC."""
        return Client(self.port, self.directory, message_bytes)

    def read(self) -> Reading:
        proxy = self.proxy.scheduled() if self.proxy else Scheduled(0, 0)
        now_s = time.monotonic()
        found = counts(self.backends)
        since = (replace(c, calls=c.calls - n) for c, n in zip(found, self.first, strict=True))
        return Reading(now_s, proxy, tuple(since))

    def memory_mb(self) -> dict[str, float]:
        """RSS and PSS in MB (10^6 bytes); nothing without a proxy."""
        if self.proxy is None:
            return {}
        rss, pss = self.proxy.memory_bytes()
        return {"rss_mb": rss / 1e6, "pss_mb": pss / 1e6}

    def problems(self, result: Result, end: Reading, unfinished: int = 0) -> list[str]:
        """Calls that failed, or that client and servers do not agree on; up to `unfinished` may be open."""
        found = []
        if result.bad:
            found.append(f"{result.bad} calls failed")
        if result.succeeded == 0:
            found.append("no call succeeded")
        if not 0 <= end.calls - result.succeeded <= unfinished:
            found.append(f"{result.succeeded} calls answered, but {end.calls} reached the backends")
        return found

    def imbalance(self, end: Reading, in_flight: int, *, timed: bool) -> list[str]:
        """A backend that got too little, if calls are balanced at all.

        A balancer by latency may leave one out while there is one call at a time: another is always faster. And where
        nothing is timed, as in a smoke test, since the machine may have made one slow just then.
        """
        by_latency = self.contender.balancer == "peak_ewma"
        if not self.contender.peer.per_call or (by_latency and (in_flight == 1 or not timed)):
            return []
        shares = [count.calls / max(1, end.calls) for count in end.counts]
        if min(shares) < LEAST_SHARE:
            return ["uneven: " + ", ".join(f"{share:.0%}" for share in shares)]
        return []


@contextmanager
def fleet(contender: Contender, service: Service) -> Iterator[Fleet]:
    """Starts all and stops all. Raises RuntimeError, with the log's end, when the proxy does not start."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshctl-bench-")))
        servers = stack.enter_context(backends(service, directory))
        proxy, port = None, servers[0].port
        if contender.peer.template:
            port = free_port()
            proxy = stack.enter_context(_proxy(contender, port, servers, directory))
        ready = Fleet(contender, proxy, port, servers, directory, (0,) * len(servers))
        _wait_until_ready(ready, service)
        yield replace(ready, first=tuple(count.calls for count in counts(servers)))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago, and that the kernel gives to no connection meanwhile."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _proxy(contender: Contender, port: int, servers: list[Backend], directory: Path) -> Child:
    peer = contender.peer
    values = {"PORT": str(port), "ADMIN_PORT": str(free_port()), "DIRECTORY": str(directory)}
    values["RETRIES"] = peer.retries if contender.retries else ""
    values |= {f"BACKEND_{i}": str(server.port) for i, server in enumerate(servers, 1)}
    file = directory / peer.template
    file.write_text(peer.configured(contender.balancer, values))
    binary = peer.find()
    if binary is None:
        raise RuntimeError(f"{peer.name} is not installed")
    return Child(peer.command(binary, file), core=PROXY_CORE, log=directory / f"{peer.name}.log")


def _wait_until_ready(fleet: Fleet, service: Service) -> None:
    """Ready is a proxy whose calls reach the backends; a few calls, so that it has met each of them."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and (fleet.proxy is None or fleet.proxy.running()):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", fleet.port), timeout=1):
            before = fleet.read().calls
            service.probe(fleet.port, PROBE_CALLS)
            if fleet.read().calls - before >= PROBE_CALLS:
                return
        time.sleep(0.05)
    said = fleet.proxy.said() if fleet.proxy else ""
    raise RuntimeError(f"{fleet.contender.label} does not answer; its log ends with:\n{said}")
