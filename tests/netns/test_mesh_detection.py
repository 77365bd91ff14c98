"""What a sidecar makes of the first bytes of a connection, and of connections that lead back to itself."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, TrailersReceived

from tests.netns.mesh import Mesh, meshed
from tests.netns.network import Network
from tests.netns.pod import PROXY_UID, Pod
from tests.support.echo_server import SERVICE
from tests.support.waiting import wait_until

PORT, WITNESS = 50051, 8080
PREFACE_BYTES = 24
TIMEOUT_S = 30
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/Unary"),
    (":authority", "echo"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


@contextmanager
def connection(pod: Pod, host: str, port: int) -> Iterator[socket.socket]:
    with pod.namespace.entered():
        connected = socket.create_connection((host, port), TIMEOUT_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connected:
        yield connected


@pytest.fixture(scope="module")
def echo(mesh: Mesh) -> Mesh:
    """An echo service and a witness in the first server pod."""
    pod = mesh.pods[0]
    pod.start_python("tests.support.echo_server", f"127.0.0.1:{PORT}", pod.name)
    pod.start_witness(WITNESS)
    pod.wait_for_port(PORT)
    return mesh


def first_flight() -> tuple[H2Connection, bytes]:
    """A client's preface, SETTINGS and a whole gRPC call, as h2 writes them."""
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    h2.initiate_connection()
    h2.send_headers(1, HEADERS)
    h2.send_data(1, b"\0\0\0\0\5hello", end_stream=True)
    return h2, h2.data_to_send()


def finish(h2: H2Connection, connected: socket.socket) -> dict[str, str]:
    """Reads the answer to the call; its trailers."""
    trailers: dict[str, str] = {}
    while True:
        data = connected.recv(1 << 16)
        assert data, "closed before the end of the response"
        for event in h2.receive_data(data):
            if isinstance(event, TrailersReceived):
                trailers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, StreamEnded):
                return trailers
        connected.sendall(h2.data_to_send())


def calls_seen(mesh: Mesh) -> float:
    return sum(
        each.sidecar.metric("meshctl_response_total", grpc_status="0") for each in (mesh.client, mesh.servers[0])
    )


@pytest.mark.parametrize("cut", [*range(1, PREFACE_BYTES + 1), PREFACE_BYTES + 5])
def test_a_preface_is_known_wherever_it_is_cut(echo: Mesh, cut: int) -> None:
    before = calls_seen(echo)
    with connection(echo.client.pod, echo.pods[0].ipv4, PORT) as connected:
        h2, flight = first_flight()
        connected.sendall(flight[:cut])
        # So that the sidecar has read the first piece before the second one comes.
        read = echo.client.sidecar.get("/live")
        assert read[0] == 200
        connected.sendall(flight[cut:])
        assert finish(h2, connected)["server"] == "one"
    assert calls_seen(echo) - before == 2  # both sidecars took it for gRPC, not for bytes


def test_a_preface_that_comes_byte_by_byte_is_known(echo: Mesh) -> None:
    before = calls_seen(echo)
    with connection(echo.client.pod, echo.pods[0].ipv4, PORT) as connected:
        h2, flight = first_flight()
        for number in range(len(flight)):
            connected.sendall(flight[number : number + 1])
        assert finish(h2, connected)["server"] == "one"
    assert calls_seen(echo) - before == 2


def test_a_preface_after_a_silence_is_known(echo: Mesh) -> None:
    """Longer than it takes the sidecar to look whether the server speaks first."""
    before = calls_seen(echo)
    with connection(echo.client.pod, echo.pods[0].ipv4, PORT) as connected:
        h2, flight = first_flight()
        connected.settimeout(0.6)
        with pytest.raises(TimeoutError):
            connected.recv(1)
        connected.settimeout(TIMEOUT_S)
        connected.sendall(flight)
        assert finish(h2, connected)["server"] == "one"
    assert calls_seen(echo) - before == 2


@pytest.mark.parametrize("port", [4140, 4143])
def test_the_proxys_own_ports_are_closed_to_who_dials_them(echo: Mesh, port: int) -> None:
    """From inside the pod, over loopback, where nothing is redirected: the destination is the proxy itself."""
    sidecar = echo.client.sidecar
    with connection(echo.client.pod, "127.0.0.1", port) as connected:
        assert_closed(connected)
    name = "outbound" if port == 4140 else "inbound"
    assert sidecar.metric("meshctl_refused_connections_total", listener=name, reason="direct") == 1


@pytest.mark.parametrize(("port", "reason"), [(4143, "direct"), (4140, "loop")])
def test_the_proxys_ports_in_another_pod_are_closed_to_who_dials_them(
    echo: Mesh, family: int, port: int, reason: str
) -> None:
    """That pod's rules redirect them like any other port, to the inbound one: what was dialled is the proxy itself."""
    server, suffix = echo.pods[0], "-ipv6" * (family == 6)
    plain = echo.network.pod(f"plain{port}{family}")
    with connection(plain, server.ipv6 if family == 6 else server.ipv4, port) as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert_closed(connected)
    refused = {"listener": f"inbound{suffix}", "reason": reason}
    assert echo.servers[0].sidecar.metric("meshctl_refused_connections_total", **refused) == 1


def assert_closed(connected: socket.socket) -> None:
    with suppress(ConnectionResetError):
        assert connected.recv(1) == b""


def test_a_route_back_to_the_sidecar_ends_instead_of_going_round(network: Network) -> None:
    """A service whose endpoint is the sidecar's own outbound port: a wrong file, which must not eat all descriptors."""
    pod = meshed(network, "confused")
    endpoints = {"endpoints": [{"address": "127.0.0.1:4140"}]}
    pod.config["clusters"] = [{"name": "self", "protocol": "detect", "static": endpoints}]
    pod.config["routes"] = [{"match": {"destination": "10.96.9.9:80"}, "cluster": "self"}]
    pod.configure()
    body = pod.pod.curl("http://10.96.9.9/", "--include")
    assert body.startswith(("HTTP/1.1 502", "HTTP/1.1 503", "HTTP/1.1 508"))
    wait_until(lambda: pod.sidecar.metric("meshctl_downstream_connections") == 0, "the end of all connections")


def test_the_users_of_the_pod_are_redirected_and_the_proxys_is_not(echo: Mesh) -> None:
    """Who runs as the proxy's user goes past it: one sidecar less counts the call."""
    target = f"{echo.pods[0].ipv4}:{PORT}"
    command = (sys.executable, "-m", "tests.netns.grpc_client", target, "5")
    counted = []
    for uid in (1000, 0, PROXY_UID):
        before = echo.client.sidecar.metric("meshctl_request_total")
        echo.client.pod.run(*command, uid=uid)
        counted.append(echo.client.sidecar.metric("meshctl_request_total") - before)
    assert counted == [8, 8, 0]
