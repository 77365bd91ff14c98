"""CONNECT and 101 Switching Protocols: from then on bytes, both ways, each to its own end (semantics: 11)."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
CONNECT = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"
BOTH = pytest.mark.parametrize(("request_head", "answer"), [(UPGRADE, SWITCHING), (CONNECT, CONNECTED)])


def tunnel(mesh: PlainMesh, request: bytes = UPGRADE, answer: bytes = SWITCHING) -> tuple[Socket, Socket]:
    client = mesh.connect()
    client.send(request)
    mesh.run()
    mesh.server().take()
    mesh.server().send(answer)
    mesh.run()
    assert client.take() == answer
    return client, mesh.server()


@BOTH
def test_bytes_go_both_ways(plain_of: PlainOf, request_head: bytes, answer: bytes) -> None:
    mesh = plain_of()
    client, server = tunnel(mesh, request_head, answer)
    client.send(b"GET / HTTP/1.1\r\n\r\n\0")
    server.send(b"HTTP/1.1 400 Bad\r\n\r\n\xff")
    mesh.run()
    assert server.take() == b"GET / HTTP/1.1\r\n\r\n\0"
    assert client.take() == b"HTTP/1.1 400 Bad\r\n\r\n\xff"


@BOTH
def test_bytes_behind_the_heads_come_first(plain_of: PlainOf, request_head: bytes, answer: bytes) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(request_head + b"early")
    mesh.run()
    server = mesh.server()
    assert server.take().endswith(b"\r\n\r\n")
    server.send(answer + b"first")
    mesh.run()
    client.send(b" late")
    mesh.run()
    assert client.take() == answer + b"first"
    assert server.take() == b"early late"


def test_much_that_is_early_is_held_up_and_not_lost(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    data = bytes(range(256)) * 2000
    client.send(CONNECT)
    for i in range(0, len(data), 30_000):
        client.send(data[i : i + 30_000])
        mesh.run()
    assert len(client.unsent) > 200_000
    server = mesh.server()
    server.take()
    server.send(CONNECTED)
    mesh.run()
    assert server.take() == data


@pytest.mark.parametrize("first", ["client", "server"])
def test_each_direction_ends_by_itself(plain_of: PlainOf, first: str) -> None:
    mesh = plain_of()
    client, server = tunnel(mesh)
    one, two = (client, server) if first == "client" else (server, client)
    one.send(b"last words")
    one.finish()
    mesh.run()
    assert two.take() == b"last words" and two.ended and not one.over
    two.send(b"answer")
    mesh.run()
    assert one.take() == b"answer" and not one.over
    two.finish()
    mesh.advance(3)
    assert one.ended
    assert mesh.transport(one).lost and mesh.transport(two).lost, "a tunnel that has ended is left open"
    assert mesh.outcomes()[("success", 101, -1, "")] == 1
    assert mesh.plane.calls == 0


@pytest.mark.parametrize("first", ["client", "server"])
def test_one_end_that_is_lost_ends_the_other(plain_of: PlainOf, first: str) -> None:
    mesh = plain_of()
    client, server = tunnel(mesh)
    one, two = (client, server) if first == "client" else (server, client)
    one.reset()
    mesh.advance(3)
    assert two.over and mesh.transport(two).lost


def test_one_end_that_is_lost_after_its_fin_ends_the_other(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = tunnel(mesh)
    client.finish()
    mesh.run()
    client.reset()
    mesh.advance(3)
    assert mesh.transport(server).lost


def test_a_full_tunnel_that_ends_both_ways_loses_nothing(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = tunnel(mesh)
    data = bytes(range(256)) * 200
    for socket in (client, server):
        mesh.transport(socket).stalled = True
        socket.send(data)
        socket.finish()
    mesh.run()
    for socket in (client, server):
        mesh.transport(socket).stalled = False
        mesh.run()
    assert client.take() == data and server.take() == data
    assert client.ended and server.ended


def test_connect_that_is_refused_is_an_ordinary_response(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(CONNECT)
    mesh.run()
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    mesh.server().send(refusal)
    mesh.run()
    assert client.take() == refusal and not client.over


@pytest.mark.parametrize("reached", [True, False])
def test_what_came_for_a_tunnel_that_is_refused_is_no_request(plain_of: PlainOf, reached: bool) -> None:
    """A client that did not wait sends somebody else's bytes: whoever wrote them must not make requests of its own."""
    mesh = plain_of(1 if reached else 0)
    client = mesh.connect()
    client.send(CONNECT + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    mesh.run()
    if reached:
        mesh.server().take()
        mesh.server().send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    mesh.advance(4)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 403 " if reached else b"HTTP/1.1 503 ") and answer.count(b"HTTP/1.1") == 1
    assert b"connection: close\r\n" in answer.lower() and client.ended
    assert not any(b"smuggled" in server.take() for server in mesh.sockets)


def test_a_switch_that_was_not_asked_for_is_refused(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    mesh.run()
    mesh.server().send(SWITCHING)
    mesh.run()
    assert client.take().startswith(b"HTTP/1.1 502 ") and mesh.server().over


def test_a_switch_to_http2_is_never_offered(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, websocket\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"HTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    mesh.run()
    forwarded = mesh.server().take()
    assert b"h2c" not in forwarded and b"HTTP2-Settings" not in forwarded
    assert b"Upgrade: websocket\r\n" in forwarded and b"Connection: Upgrade\r\n" in forwarded


def test_a_slow_end_holds_up_the_other(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = tunnel(mesh)
    mesh.transport(client).stalled = True
    for _ in range(50):
        server.send(b"x" * 20_000)
        mesh.run()
    assert len(server.unsent) > 700_000
    mesh.transport(client).stalled = False
    mesh.run()
    assert len(client.take()) == 1_000_000
