"""A port that the system gives out to those who connect, and on which nobody listens: who connects to it may get that
very port, and then has connected to itself."""

import contextlib
import http.client
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespace import Namespace
from tests.netns.network import Network
from tests.support.process import ProxyProcess

ADMIN = 4191
PORT = 40_000
INBOUND = {"name": "inbound", "intercept": "inbound", "address": "0.0.0.0:4143"}
FEW = f"{PORT} {PORT + 99}"  # all that the system has to give out
TRIES = 200  # it gives out even numbers first, one after the other, now and then leaving some out


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    request.getfixturevalue("namespaces")
    with Namespace("self") as made:
        made.run(["sysctl", "-qw", f"net.ipv4.ip_local_port_range={FEW}"])
        yield made


def connects_to_itself(namespace: Namespace) -> bool:
    with namespace.entered(), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves no TIME_WAIT
        return sock.connect_ex(("127.0.0.1", PORT)) == 0


def test_a_probe_is_not_answered_by_itself(namespace: Namespace, tmp_path: Path) -> None:
    config = {
        "admin": {"address": f"127.0.0.1:{ADMIN}", "probe_ports": [PORT]},
        "listeners": [INBOUND],
    }
    with ProxyProcess(config, tmp_path, place=namespace.place()) as proxy:
        proxy.wait_until(proxy.ready, "ready")
        assert any(connects_to_itself(namespace) for _ in range(TRIES)), "this kernel would not show the fault"
        with namespace.entered(), contextlib.closing(http.client.HTTPConnection("127.0.0.1", ADMIN)) as connection:
            for _ in range(TRIES):
                connection.request("GET", f"/probe/tcp/{PORT}")
                response = connection.getresponse()
                assert (response.status, response.read()) == (503, b"port %d: connection refused\n" % PORT)


def test_a_caller_is_not_sent_its_own_bytes(network: Network) -> None:
    pod, other = network.pod("meshed"), network.pod("other")
    pod.namespace.run(["sysctl", "-qw", f"net.ipv4.ip_local_port_range={FEW}"])
    pod.intercept()
    sidecar = pod.sidecar({"listeners": [INBOUND]})
    for _ in range(TRIES):
        with other.namespace.entered():
            caller = socket.socket()
        with caller, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            caller.settimeout(5)
            caller.connect((pod.ipv4, PORT))
            caller.sendall(b"\0")  # no HTTP
            assert caller.recv(1) == b""
    assert sidecar.metric("meshctl_faults_total") == 0
