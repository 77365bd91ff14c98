"""Faults between a sidecar and its HTTP/1.1 or TCP application: callers see what docs/semantics.md says (2 and 11)."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.faulty import fault_proxy, repair
from tests.netns.mesh import Mesh
from tests.support.fault_proxy import Cut, FaultProxy
from tests.support.waiting import wait_until

WEB, WEB_BEHIND = 8080, 8081
BYTES, BYTES_BEHIND = 9001, 9002
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def web_proxy(mesh: Mesh) -> Iterator[FaultProxy]:
    pytest.importorskip("aiohttp")
    pod = mesh.pods[0]
    pod.start_python("tests.netns.http1_server", str(WEB_BEHIND), pod.name)
    pod.wait_for_port(WEB_BEHIND)
    with fault_proxy(pod, WEB, WEB_BEHIND) as proxy:
        yield proxy


@pytest.fixture
def web(web_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The fault proxy before the web server; whole before and after each test."""
    yield web_proxy
    repair(web_proxy)


@pytest.fixture(scope="module")
def bytes_proxy(mesh: Mesh) -> Iterator[FaultProxy]:
    pod = mesh.pods[1]
    pod.start_python("tests.netns.echo_tcp", str(BYTES_BEHIND), "echo")
    pod.wait_for_port(BYTES_BEHIND)
    with fault_proxy(pod, BYTES, BYTES_BEHIND) as proxy:
        yield proxy


@pytest.fixture
def tcp(bytes_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The fault proxy before the server of bytes."""
    yield bytes_proxy
    repair(bytes_proxy)


def curl(mesh: Mesh, path: str, *options: str) -> str:
    return mesh.client.pod.curl(f"http://{mesh.pods[0].ipv4}:{WEB}{path}", "--include", *options)


def test_a_kept_connection_that_the_server_closed_costs_no_request(mesh: Mesh, web: FaultProxy) -> None:
    for how in (Cut.FIN, Cut.RST, Cut.FIN):
        assert curl(mesh, "/").endswith("one\n")
        web.cut(how)
    assert curl(mesh, "/").endswith("one\n")


@pytest.mark.parametrize("how", Cut)
def test_a_request_that_may_have_been_processed_is_not_repeated(mesh: Mesh, web: FaultProxy, how: Cut) -> None:
    web.cut(Cut.FIN)
    before = web.up.passed_bytes
    web.down.cut_after(0, how)
    told = curl(mesh, "/echo", "--data", "vote")
    assert told.startswith("HTTP/1.1 502")
    assert "x-mesh-error: upstream_lost" in told
    assert web.up.passed_bytes - before < 2 * 150  # one request's bytes, not two


@pytest.mark.parametrize("path", ["/echo", "/echo?length"])
@pytest.mark.parametrize("how", Cut)
def test_a_response_that_breaks_off_is_never_taken_for_a_whole_one(
    mesh: Mesh, web: FaultProxy, how: Cut, path: str
) -> None:
    body = mesh.client.pod.directory / "body"
    body.write_bytes(bytes(2_000_000))
    web.down.cut_after(500_000, how)
    with pytest.raises(AssertionError, match=r"curl: \((18|56)\)"):
        curl(mesh, path, "--data-binary", f"@{body}", "--output", "/dev/null")


@pytest.mark.parametrize("fault", ["refuse", "ignore"])
def test_a_server_that_cannot_be_connected_to_is_a_503(mesh: Mesh, web: FaultProxy, fault: str) -> None:
    getattr(web, fault)()
    web.cut(Cut.FIN)
    told = curl(mesh, "/")  # which gives up after 30 s
    assert told.startswith("HTTP/1.1 503")
    assert "x-mesh-error: connect_failed" in told
    web.accept()
    assert curl(mesh, "/").endswith("one\n")


@contextmanager
def connection(mesh: Mesh) -> Iterator[socket.socket]:
    """A connection from the client's pod through the fault proxy; its first byte has come back."""
    with mesh.client.pod.namespace.entered():
        connected = socket.create_connection((mesh.pods[1].ipv4, BYTES), TIMEOUT_S)
    with connected:
        connected.sendall(b"\x00")
        assert connected.recv(1) == b"\x00"
        yield connected


def test_a_reset_is_a_reset_and_an_end_is_an_end(mesh: Mesh, tcp: FaultProxy) -> None:
    with connection(mesh) as connected:
        tcp.cut(Cut.RST)
        with pytest.raises(ConnectionResetError):
            connected.recv(1)
    with connection(mesh) as connected:
        tcp.cut(Cut.FIN)
        assert connected.recv(1) == b""


def test_a_half_closed_server_still_gets_what_its_client_sends(mesh: Mesh, tcp: FaultProxy) -> None:
    with connection(mesh) as connected:
        passed = tcp.up.passed_bytes
        tcp.half_close(tcp.down)
        assert connected.recv(1) == b""
        connected.sendall(b"x" * 1000)
        connected.shutdown(socket.SHUT_WR)
        wait_until(lambda: tcp.up.passed_bytes >= passed + 1000, "the bytes", TIMEOUT_S)
        assert tcp.up.passed_bytes == passed + 1000


def test_a_peer_that_stops_reading_stops_its_sender_and_loses_nothing(mesh: Mesh, tcp: FaultProxy) -> None:
    with connection(mesh) as connected:
        tcp.hold()
        connected.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 256 << 20:  # more than all buffers on the way
                sent += connected.send(bytes(1 << 16))
        resident = resident_bytes(mesh)
        assert resident < 100 << 20
        connected.settimeout(TIMEOUT_S)
        connected.shutdown(socket.SHUT_WR)
        tcp.release()
        received = 0
        while data := connected.recv(1 << 20):
            received += len(data)
        assert received == sent


def resident_bytes(mesh: Mesh) -> int:
    """The larger of both sidecars' memory."""
    sizes = []
    for meshed in (mesh.client, mesh.servers[1]):
        status = Path(f"/proc/{meshed.sidecar.pid}/status").read_text()
        sizes.append(int(status.partition("VmRSS:")[2].split()[0]) << 10)
    return max(sizes)


def test_latency_delays_bytes_and_nothing_else(mesh: Mesh, tcp: FaultProxy) -> None:
    with connection(mesh) as connected:
        tcp.up.latency_s = 0.3
        begun_s = time.monotonic()
        connected.sendall(b"squid")
        assert connected.recv(5, socket.MSG_WAITALL) == b"squid"
        assert time.monotonic() - begun_s >= 0.3
