"""Whoever cannot send holds up whoever reads: memory stays bounded, and neighbours are not touched (semantics: 9)."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
MOST_BYTES = 400_000  # what may be on its way through one connection: two reads of 128 KiB, and what is held


def no_content(server: Socket) -> None:
    server.send(b"HTTP/1.1 204 No Content\r\n\r\n" * server.take().count(b"\r\n\r\n"))


def neighbour(mesh: PlainMesh) -> None:
    """Another client is served while somebody is held up."""
    client = mesh.connect()
    client.send(GET)
    mesh.run()
    mesh.server().send(b"HTTP/1.1 204 No Content\r\n\r\n")
    mesh.run()
    assert client.take() == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_slow_client_holds_up_the_server(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(GET)
    mesh.run()
    server = mesh.server()
    mesh.transport(client).stalled = True
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(100):
        server.send(b"x" * 10_000)
        mesh.run()
    assert len(server.unsent) > 1_000_000 - MOST_BYTES
    neighbour(mesh)
    mesh.transport(client).stalled = False
    mesh.run()
    assert client.take().endswith(b"x" * 1_000_000)


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_a_slow_server_holds_up_the_client(plain_of: PlainOf, method: bytes) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    mesh.run()
    server = mesh.server()
    mesh.transport(server).stalled = True
    for _ in range(100):
        client.send(b"x" * 10_000)
        mesh.run()
    assert len(client.unsent) > 1_000_000 - MOST_BYTES
    neighbour(mesh)
    mesh.transport(server).stalled = False
    mesh.run()
    assert server.take().endswith(b"x" * 1_000_000) and not client.unsent


def test_a_body_that_has_no_connection_yet_is_held_up(plain_of: PlainOf) -> None:
    mesh = plain_of()
    mesh.modes[mesh.endpoint(1).address] = "hold"
    client = mesh.connect()
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(100):
        client.send(b"x" * 10_000)
        mesh.run()
    assert len(client.unsent) > 1_000_000 - MOST_BYTES
    mesh.modes.clear()
    mesh.run()
    assert mesh.server().take().endswith(b"x" * 1_000_000)


def test_requests_that_wait_for_their_turn_are_held_up(plain_of: PlainOf) -> None:
    mesh = plain_of(serve=no_content)
    mesh.modes[mesh.endpoint(1).address] = "hold"
    client = mesh.connect()
    for _ in range(500):
        client.send(GET * 100)
        mesh.run()
    assert len(client.unsent) > 50_000 * len(GET) - MOST_BYTES
    mesh.modes.clear()
    mesh.run()
    assert client.take().count(b"HTTP/1.1 204") == 50_000


@pytest.mark.parametrize("host", [b"a", b"nowhere"])
def test_a_client_that_asks_and_never_reads_is_held_up(plain_of: PlainOf, host: bytes) -> None:
    """Answers may be longer than requests: ours, or an endpoint's without a body."""
    mesh = plain_of(serve=no_content)
    client = mesh.connect()
    mesh.transport(client).stalled = True
    requests = b"HEAD / HTTP/1.1\r\nHost: %b\r\n\r\n" % host * 1000
    for _ in range(40):
        client.send(requests)
        mesh.run()
    assert len(client.unsent) > 20 * len(requests)
    mesh.advance(20)
    assert not client.over, "it has sent whole heads; it is not slow"
    mesh.transport(client).stalled = False
    mesh.run()
    assert client.take().count(b"HTTP/1.1 ") == 40_000 and not client.unsent
