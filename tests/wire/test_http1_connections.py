"""HTTP/1.x connections: kept, used again, and given up (semantics: 11; RFC 9112, section 9)."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.harness import address
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def path(request: bytes) -> bytes:
    return request.split(b" ", 2)[1]


def answer_each(server: Socket) -> None:
    """Answer every request that has come, each with its own path for a body."""
    data = server.take()
    assert data.endswith(b"\r\n\r\n")
    for request in data.split(b"\r\n\r\n")[:-1]:
        body = path(request)
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def ask(mesh: PlainMesh, client: Socket, request: bytes = GET % 1) -> bytes:
    client.send(request)
    mesh.run()
    return client.take()


def test_both_sides_are_kept(plain_of: PlainOf) -> None:
    mesh = plain_of(serve=answer_each)
    client = mesh.connect()
    for n in range(3):
        assert ask(mesh, client, GET % n).endswith(b"/%d" % n)
    assert len(mesh.sockets) == 1
    assert mesh.outcomes() == {("success", 200, -1, ""): 3}


def test_each_request_is_balanced(plain_of: PlainOf) -> None:
    mesh = plain_of(3, serve=answer_each)
    client = mesh.connect()
    for n in range(9):
        ask(mesh, client, GET % n)
    assert [e.calls for e in mesh.cluster.endpoints] == [3, 3, 3]
    assert len(mesh.sockets) == 3


def test_the_connection_used_last_is_used_first(plain_of: PlainOf) -> None:
    mesh = plain_of()
    clients = [mesh.connect() for _ in range(2)]
    for client in clients:
        client.send(GET % 1)
    mesh.run()
    first, second = mesh.sockets
    for server in (second, first):
        server.take()
        server.send(OK)
        mesh.run()
    clients[1].send(GET % 2)
    mesh.run()
    assert first.take() and not second.take()
    first.send(OK)
    mesh.run()


def test_an_idle_connection_is_closed_after_three_seconds(plain_of: PlainOf) -> None:
    mesh = plain_of(serve=answer_each)
    client = mesh.connect()
    ask(mesh, client)
    mesh.advance(2.9)
    assert not mesh.server().over
    mesh.advance(0.2)
    assert mesh.server().ended and not client.over
    assert ask(mesh, client).endswith(b"/1") and len(mesh.sockets) == 2


def test_a_connection_that_was_used_meanwhile_is_not_closed(plain_of: PlainOf) -> None:
    mesh = plain_of(serve=answer_each)
    client = mesh.connect()
    for _ in range(4):
        ask(mesh, client)
        mesh.advance(2)
    assert len(mesh.sockets) == 1


@pytest.mark.parametrize("unasked", [b"x", OK, b"HTTP/1.1 200 OK\r\n"])
def test_bytes_nobody_asked_for_end_an_idle_connection(plain_of: PlainOf, unasked: bytes) -> None:
    mesh = plain_of()
    client = mesh.connect()
    ask(mesh, client)
    mesh.server().send(EMPTY)
    mesh.run()
    assert client.take() == EMPTY
    mesh.server().send(unasked)
    mesh.run()
    assert mesh.server(0).over
    ask(mesh, client)
    mesh.server().send(OK)
    mesh.run()
    assert len(mesh.sockets) == 2 and client.take() == OK


@pytest.mark.parametrize("behind", [b"x", b"HTTP/1.1 200 OK\r\nX-Of: another\r\n", OK.replace(b"ok", b"no")])
def test_bytes_behind_a_response_never_reach_the_next_request(plain_of: PlainOf, behind: bytes) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(GET % 1 + GET % 2)
    mesh.run()
    mesh.server().send(EMPTY + behind)
    mesh.run()
    assert client.take() == EMPTY
    assert mesh.server(0).over and len(mesh.sockets) == 2
    mesh.server(1).send(OK)
    mesh.run()
    assert client.take() == OK


def test_what_is_left_of_a_response_never_reaches_another_client(plain_of: PlainOf) -> None:
    """Its client left in the middle of it."""
    mesh = plain_of()
    client, other = mesh.connect(), mesh.connect()
    ask(mesh, client)
    mesh.server().send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(OK)) + OK)
    mesh.run()
    client.reset()
    mesh.run()
    assert mesh.server().over
    other.send(GET % 2)
    mesh.run()
    assert len(mesh.sockets) == 2
    mesh.server(0).send(OK)
    mesh.server(1).send(EMPTY)
    mesh.run()
    assert other.take() == EMPTY


def test_what_is_left_of_a_response_that_took_too_long_never_reaches_another_request(plain_of: PlainOf) -> None:
    mesh = plain_of(timeout_s=5.0)
    client, other = mesh.connect(), mesh.connect()
    ask(mesh, client)
    mesh.server().send(OK[:-1])
    mesh.advance(6)
    assert client.ended and mesh.server().over
    other.send(GET % 2)
    mesh.run()
    assert len(mesh.sockets) == 2


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_pipelined_requests_are_answered_in_order(plain_of: PlainOf, cut: int) -> None:
    mesh = plain_of(3, serve=answer_each)
    client = mesh.connect()
    data = b"\r\n".join(GET % n for n in range(20))
    for i in range(0, len(data), cut):
        client.send(data[i : i + cut])
        mesh.run()
    bodies = [part.split(b"HTTP")[0] for part in client.take().split(b"\r\n\r\n")[1:]]
    assert bodies == [b"/%d" % n for n in range(20)]


def test_a_slow_first_answer_holds_back_the_second(plain_of: PlainOf) -> None:
    mesh = plain_of(2)
    client = mesh.connect()
    client.send(GET % 1 + GET % 2)
    mesh.run()
    assert len(mesh.sockets) == 1
    mesh.server(0).send(OK)
    mesh.run()
    mesh.server(1).send(EMPTY)
    mesh.run()
    assert client.take() == OK + EMPTY


@pytest.mark.parametrize(
    ("request_head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_the_client_says_whether_its_connection_is_kept(plain_of: PlainOf, request_head: bytes, kept: bool) -> None:
    mesh = plain_of()
    client = mesh.connect()
    forwarded = ask(mesh, client, request_head) or mesh.server().take()
    assert b"close" not in forwarded and b"keep-alive" not in forwarded
    mesh.server().send(OK)
    mesh.run()
    answer = client.take()
    assert answer.endswith(b"ok")
    assert client.ended is not kept
    assert (b"Connection: close" in answer) is not kept
    assert (b"Connection: keep-alive" in answer) is (kept and b"1.0" in request_head)


def test_a_server_that_closes_does_not_close_the_client(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    ask(mesh, client)
    mesh.server().send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    mesh.run()
    assert client.take() == OK and not client.over and mesh.server().over


def test_a_client_that_leaves_cancels_in_the_same_turn(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    ask(mesh, client)
    mesh.transport(client).eof()
    assert mesh.transport(mesh.server()).closing
    mesh.run()
    assert mesh.outcomes() == {("cancelled", 0, -1, ""): 1}


def test_the_rest_of_a_response_reaches_a_client_that_sends_no_more(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    ask(mesh, client)
    mesh.transport(client).stalled = True
    body = bytes(range(256)) * 200
    mesh.server().send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    mesh.run()
    assert mesh.outcomes() == {("success", 200, -1, ""): 1}
    client.finish()
    mesh.run()
    mesh.transport(client).stalled = False
    mesh.run()
    assert client.take().endswith(body) and client.ended


def test_a_response_larger_than_its_clients_buffer_keeps_the_endpoints_connection(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    ask(mesh, client)
    mesh.transport(client).stalled = True
    mesh.server().send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    mesh.run()
    mesh.transport(client).stalled = False
    mesh.run()
    client.take()
    ask(mesh, client)
    mesh.server().send(OK)
    mesh.run()
    assert client.take() == OK and len(mesh.sockets) == 1


def test_a_connection_is_not_kept_for_an_endpoint_that_went_while_it_was_made(plain_of: PlainOf) -> None:
    mesh = plain_of()
    mesh.modes[mesh.endpoint(1).address] = "hold"
    endpoint = mesh.endpoint(1)
    client = mesh.connect()
    ask(mesh, client)
    client.leave()
    mesh.update("remove", address(1))
    mesh.modes.clear()
    mesh.run()
    assert mesh.server().over
    assert endpoint.connections == 0


def test_a_call_on_a_removed_endpoint_is_finished(plain_of: PlainOf) -> None:
    mesh = plain_of(2)
    client = mesh.connect()
    ask(mesh, client)
    server, number = mesh.server(), int(mesh.of_server[id(mesh.server())].host[-1])
    mesh.update("remove", address(number))
    mesh.advance(29)
    server.send(OK)
    mesh.run()
    assert client.take() == OK and server.over
    ask(mesh, client)
    assert mesh.of_server[id(mesh.server())].host != address(number).host


def test_a_drained_connection_ends_with_its_next_response(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    assert mesh.transport(client).protocol.idle
    mesh.transport(client).protocol.drain()
    ask(mesh, client)
    mesh.server().send(OK)
    mesh.run()
    assert b"Connection: close" in client.take() and client.ended


def test_a_head_that_does_not_come_to_its_end_is_cut(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    for _ in range(9):
        client.send(b"G")
        mesh.advance(1)
    assert not client.over
    client.send(b"G")
    mesh.advance(2)
    assert client.over and mesh.plane.cuts == {"slow": 1}
