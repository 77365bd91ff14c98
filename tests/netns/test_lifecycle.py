"""A sidecar with both interceptions is told to stop: inbound drains, outbound goes on until the application is gone."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.netns.network import Network
from tests.netns.pod import Pod
from tests.support.process import ProxyProcess

APP_PORT = 8080
LATE_ARRIVALS_S = 5  # proxy/drain.py
GRACE_S = 90  # far more than any test waits for: what ends sooner was not ended by it
SOON_S = 30
LISTENERS = [
    {"name": "outbound", "address": "127.0.0.1:4140", "intercept": "outbound"},
    {"name": "inbound", "address": "0.0.0.0:4143", "intercept": "inbound"},
]


class Meshed:
    """A pod with an application and a sidecar, and another one that it calls and is called by."""

    def __init__(self, network: Network, grace_s: float) -> None:
        self.pod, self.other = network.pod("meshed"), network.pod("other")
        self.pod.start_witness(APP_PORT)
        self.other.start_witness(APP_PORT)
        self.pod.intercept()
        self.sidecar: ProxyProcess = self.pod.sidecar({"listeners": LISTENERS, "shutdown_grace_s": grace_s})

    def terminate(self) -> float:
        """Returns the last moment at which it had not been told yet."""
        before_s = time.monotonic()
        self.sidecar.signal(signal.SIGTERM)
        self.sidecar.wait_until(lambda: self.sidecar.get("/ready")[0] == 503, "not ready any more")
        return before_s


def reaches(asking: Pod, to: Pod) -> bool:
    with contextlib.suppress(AssertionError):
        return bool(asking.ask(f"http://{to.ipv4}:{APP_PORT}/")["name"] == to.name)
    return False


@contextlib.contextmanager
def connected(asking: Pod, to: Pod) -> Iterator[socket.socket]:
    """A connection of the pod's application, which must not be the proxy's user."""
    with asking.namespace.place().entered():
        sock = socket.create_connection((to.ipv4, APP_PORT), timeout=10)
    with sock:
        yield sock


def ask(sock: socket.socket) -> bytes:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return sock.recv(10_000)


@pytest.fixture
def meshed(network: Network) -> Meshed:
    return Meshed(network, GRACE_S)


def test_outbound_goes_on_until_the_application_is_gone(meshed: Meshed) -> None:
    with connected(meshed.pod, meshed.other) as application:
        assert b"200" in ask(application)
        told_s = meshed.terminate()
        assert reaches(meshed.pod, meshed.other)
        meshed.sidecar.wait_until(lambda: not reaches(meshed.other, meshed.pod), "no more late arrivals", SOON_S)
        assert time.monotonic() - told_s > LATE_ARRIVALS_S - 1, "late arrivals were sent away"
        for _ in range(10):
            assert reaches(meshed.pod, meshed.other), "a shutting down application still makes calls"
            time.sleep(0.1)
        assert meshed.sidecar.running
    assert meshed.sidecar.wait(SOON_S) == 0


def test_an_application_that_keeps_a_connection_open_has_the_whole_grace_period(network: Network) -> None:
    """A sidecar that is no init container is told at the same time as its application."""
    meshed = Meshed(network, grace_s=LATE_ARRIVALS_S + 1)
    with connected(meshed.pod, meshed.other) as application:
        assert b"200" in ask(application)
        told_s = meshed.terminate()
        assert meshed.sidecar.wait(SOON_S) == 0
        assert time.monotonic() - told_s > LATE_ARRIVALS_S + 0.5


def test_without_outbound_connections_it_exits_when_late_arrivals_are_over(meshed: Meshed) -> None:
    told_s = meshed.terminate()
    assert meshed.sidecar.wait(SOON_S) == 0
    assert time.monotonic() - told_s > LATE_ARRIVALS_S - 1


def test_a_relayed_connection_from_outside_runs_until_it_ends(meshed: Meshed) -> None:
    with connected(meshed.other, meshed.pod) as peer:
        peer.sendall(b"\x00")  # no HTTP: passed through
        meshed.sidecar.wait_until(lambda: meshed.sidecar.metric("meshctl_downstream_connections") == 1, "it is relayed")
        meshed.terminate()
        time.sleep(LATE_ARRIVALS_S + 1)
        assert meshed.sidecar.running
    assert meshed.sidecar.wait(SOON_S) == 0


def test_only_from_within_the_pod_can_the_sidecar_be_stopped(network: Network) -> None:
    """Its admin port answers other pods too, where probes and Prometheus come from outside."""
    pod, other = network.pod("meshed"), network.pod("other")
    sidecar = pod.sidecar({"listeners": LISTENERS, "admin": {"address": "0.0.0.0:4191"}})
    status = ["-s", "-o", "/dev/null", "-w", "%{http_code}"]
    assert other.curl(f"http://{pod.ipv4}:4191/ready", *status) == "200"
    assert other.curl(f"http://{pod.ipv4}:4191/shutdown", *status, "-X", "POST") == "403"
    assert sidecar.ready()
    assert pod.curl("http://127.0.0.1:4191/shutdown", *status, "-X", "POST") == "200"
    sidecar.wait()
