"""A call that would come back to the proxy for ever is refused, and no other call is taken for one."""

import contextlib
import socket
import struct
from pathlib import Path

import grpc
import pytest

from tests.integration.conftest import Stage, echo_config
from tests.support.echo import EchoClient
from tests.support.ports import free_address, split_address
from tests.support.process import start_proxy
from tests.wire.messages import message, request_headers
from tests.wire.peers import Client

TIMEOUT_S = 30
IP_LOCAL_PORT_RANGE = 51  # ip(7), since Linux 6.3


def test_a_proxy_that_is_its_own_endpoint_ends_the_loop(tmp_path: Path) -> None:
    own = free_address()
    config = echo_config(own)
    config["listeners"][0]["address"] = own
    with start_proxy(config, tmp_path) as proxy, EchoClient(own) as client:
        with pytest.raises(grpc.RpcError) as raised:
            client.unary(b"", timeout=TIMEOUT_S)
        assert raised.value.code() == grpc.StatusCode.INTERNAL
        assert proxy.metric("meshctl_response_total", flag="loop") == 1


def test_a_client_that_has_its_port_in_common_with_an_upstream_connection_is_served(stage: Stage) -> None:
    """The system gives one port to several connections, if they go to different places."""
    with EchoClient(stage.address) as client:
        client.unary(b"", timeout=TIMEOUT_S)
    ports = upstream_ports(stage)
    assert ports
    for port in ports:
        with socket.socket() as sock:
            sock.settimeout(TIMEOUT_S)
            try:
                sock.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", port | port << 16))
            except OSError:
                pytest.skip("a connection's port cannot be chosen: Linux 6.3 is needed")
            sock.connect(split_address(stage.address))
            assert sock.getsockname()[1] == port
            assert grpc_status(sock) == "0"


def upstream_ports(stage: Stage) -> list[int]:
    """The local ports of the proxy's connections to its endpoints."""
    endpoints = {split_address(server.address)[1] for server in stage.servers}
    rows = [line.split() for line in Path(f"/proc/{stage.proxy.pid}/net/tcp").read_text().splitlines()[1:]]
    ends = [[int(address.split(":")[1], 16) for address in row[1:3]] for row in rows]
    return [local for local, remote in ends if remote in endpoints]


def grpc_status(sock: socket.socket) -> str | None:
    """The `grpc-status` of one unary call on a new connection."""
    client = Client()
    stream = client.call(request_headers("mesh.test.Echo/Unary"), message(b""))
    sock.sendall(client.take())
    while not client[stream].over:
        received = sock.recv(65_536)
        assert received, "the proxy closed the connection"
        client.receive(received)
        sock.sendall(client.take())
    return client[stream].get("grpc-status")


@pytest.mark.parametrize("protocol", ["http1", "tcp"])
def test_connections_are_not_made_to_a_listener_of_the_proxy_itself(tmp_path: Path, protocol: str) -> None:
    """In bytes that are passed through, nothing would end the loop before descriptors run out."""
    own = free_address()
    config = echo_config(own)
    config["listeners"][0] |= {"address": own, "protocol": protocol}
    config["clusters"][0] |= {"protocol": "detect", "failfast_s": 0.1}
    with start_proxy(config, tmp_path) as proxy, socket.create_connection(split_address(own), TIMEOUT_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 503 ") if protocol == "http1" else not answer
        assert proxy.metric("meshctl_downstream_connections") <= 1
        assert proxy.endpoints()[f"{config['clusters'][0]['name']} {protocol}"]["endpoints"][0]["connect_failures"] >= 1
