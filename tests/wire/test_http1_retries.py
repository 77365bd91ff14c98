"""What is tried again, and what its client is told when that is in vain (semantics: 2, 4, 7 and 11)."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def put(body: bytes, method: bytes = b"PUT") -> bytes:
    return b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (method, len(body), body)


def kept(mesh: PlainMesh) -> tuple[Socket, Socket]:
    """A client, and an endpoint's connection that has answered once and waits."""
    client = mesh.connect()
    client.send(GET % 1)
    mesh.run()
    server = mesh.server()
    server.take()
    server.send(OK)
    mesh.run()
    assert client.take() == OK
    return client, server


def refuse(mesh: PlainMesh, *numbers: int) -> None:
    for n in numbers:
        mesh.modes[mesh.endpoint(n).address] = "refuse"


# ---- a kept connection that was stale ----


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"])
def test_an_idempotent_request_is_repeated_once(plain_of: PlainOf, method: bytes, end: str) -> None:
    mesh = plain_of()
    client, server = kept(mesh)
    client.send(put(b"body", method))
    mesh.run()
    sent = server.take()
    getattr(server, end)()
    mesh.run()
    assert mesh.server() is not server and mesh.server().take() == sent
    mesh.server().send(b"HTTP/1.1 204 No Content\r\n\r\n")
    mesh.run()
    assert client.take() == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert mesh.outcomes() == {
        ("success", 200, -1, ""): 1,
        ("success", 204, -1, ""): 1,
        ("retried", 0, -1, "upstream_lost"): 1,
    }


def test_it_is_repeated_on_a_fresh_connection_and_only_once(plain_of: PlainOf) -> None:
    """A server that restarts makes all kept connections stale at once."""
    mesh = plain_of()
    clients = [mesh.connect() for _ in range(3)]
    for client in clients:
        client.send(GET % 1)
    mesh.run()
    old = list(mesh.sockets)
    for server in old:
        server.send(OK)
    mesh.run()
    clients[0].take()
    clients[0].send(GET % 2)
    mesh.run()
    for server in old:
        server.reset()
        mesh.run()
    assert len(mesh.sockets) == 4
    mesh.server().reset()
    mesh.run()
    assert clients[0].take().startswith(b"HTTP/1.1 502 ") and len(mesh.sockets) == 4


def test_a_post_is_not_repeated(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = kept(mesh)
    client.send(put(b"body", b"POST"))
    mesh.run()
    server.reset()
    mesh.run()
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 502 ") and b"x-mesh-error: upstream_lost\r\n" in answer
    assert len(mesh.sockets) == 1 and not client.over


def test_nothing_is_repeated_on_a_first_connection(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(GET % 1)
    mesh.run()
    mesh.server().reset()
    mesh.run()
    assert client.take().startswith(b"HTTP/1.1 502 ") and len(mesh.sockets) == 1


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_nothing_is_repeated_once_a_byte_of_the_response_has_come(plain_of: PlainOf, said: bytes) -> None:
    mesh = plain_of()
    client, server = kept(mesh)
    client.send(GET % 2)
    mesh.run()
    server.send(said)
    mesh.run()
    server.reset()
    mesh.run()
    assert b"HTTP/1.1 502 " in client.take() and len(mesh.sockets) == 1


@pytest.mark.parametrize(("size", "repeated"), [(32 * 1024, True), (32 * 1024 + 1, False)])
@pytest.mark.parametrize("piece", [1000, 40_000])
def test_a_body_is_repeated_up_to_32_kib(plain_of: PlainOf, size: int, repeated: bool, piece: int) -> None:
    mesh = plain_of()
    client, server = kept(mesh)
    request = put(bytes(n % 251 for n in range(size)))
    for i in range(0, len(request), piece):
        client.send(request[i : i + piece])
        mesh.run()
    sent = server.take()
    assert sent == request
    server.reset()
    mesh.run()
    if repeated:
        assert mesh.server().take() == sent
        mesh.server().send(OK)
        mesh.run()
        assert client.take() == OK
    else:
        assert len(mesh.sockets) == 1 and client.take().startswith(b"HTTP/1.1 502 ")


def test_a_body_that_is_not_all_there_is_repeated_and_goes_on(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = kept(mesh)
    request = put(b"0123456789")
    client.send(request[:-5])
    mesh.run()
    server.reset()
    mesh.run()
    client.send(request[-5:])
    mesh.run()
    assert mesh.server() is not server and mesh.server().take() == request


@pytest.mark.parametrize("method", [b"PUT", b"POST"])
def test_a_connection_found_lost_while_the_body_is_sent(plain_of: PlainOf, method: bytes) -> None:
    """The transport closes itself when a write fails, and says so only later; more of the body may come before."""
    mesh = plain_of()
    client, server = kept(mesh)
    request = put(b"0123456789", method)
    client.send(request[:-5])
    mesh.run()
    mesh.transport(server).fail()
    mesh.transport(client).feed(request[-5:])
    mesh.run()
    if method == b"PUT":
        assert mesh.server() is not server and mesh.server().take() == request
        mesh.server().send(OK)
        mesh.run()
        assert client.take() == OK
    else:
        assert client.take().startswith(b"HTTP/1.1 502 ")


def test_a_kept_connection_that_closed_itself_is_passed_over(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = kept(mesh)
    mesh.transport(server).fail()
    mesh.transport(client).feed(put(b"body", b"POST"))
    mesh.run()
    assert mesh.server() is not server and mesh.server().take() == put(b"body", b"POST")


# ---- a request that never left ----


def test_a_connection_that_fails_goes_to_another_endpoint(plain_of: PlainOf) -> None:
    mesh = plain_of(2)
    refuse(mesh, 1)
    clients = [mesh.connect() for _ in range(4)]
    for client in clients:
        client.send(put(b"body", b"POST"))
    mesh.run()
    assert [socket.take() for socket in mesh.servers_at(2)] == [put(b"body", b"POST")] * 4
    assert mesh.endpoint(1).state == "backoff"


def test_no_endpoint_that_can_be_reached_is_503(plain_of: PlainOf) -> None:
    mesh = plain_of(2)
    refuse(mesh, 1, 2)
    client = mesh.connect()
    client.send(GET % 1)
    mesh.advance(2.9)
    assert not client.take()
    mesh.advance(0.2)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"x-mesh-error: connect_failed\r\n" in answer and not client.over
    client.send(GET % 2)
    mesh.run()
    assert client.take().startswith(b"HTTP/1.1 503 "), "failing fast"
    assert mesh.outcomes()[("failure", 503, -1, "connect_failed")] == 2


def test_an_endpoint_that_can_be_reached_again_takes_what_waits(plain_of: PlainOf) -> None:
    mesh = plain_of()
    refuse(mesh, 1)
    clients = [mesh.connect() for _ in range(3)]
    for client in clients:
        client.send(GET % 1)
    mesh.advance(1)
    assert mesh.cluster.pending == 3
    mesh.modes.clear()
    mesh.redial()
    assert [socket.take() for socket in mesh.sockets] == [GET % 1] * 3, "the dialer's connection was not used"


def test_the_endpoint_that_is_where_the_client_was_going_is_tried_each_time(plain_of: PlainOf) -> None:
    mesh = plain_of(only=True)
    refuse(mesh, 1)
    client = mesh.connect()
    for n in range(2):
        client.send(GET % n)
        mesh.run()
        assert b"x-mesh-error: connect_failed\r\n" in client.take()
    mesh.modes.clear()
    client.send(GET % 3)
    mesh.run()
    assert mesh.server().take() == GET % 3


# ---- time, and nowhere to go ----


def test_a_route_timeout_is_504(plain_of: PlainOf) -> None:
    mesh = plain_of(timeout_s=2.0)
    client = mesh.connect()
    client.send(GET % 1)
    mesh.advance(1.9)
    assert not client.take()
    mesh.advance(0.2)
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n") and b"x-mesh-error: timeout\r\n" in answer
    assert not client.over and mesh.server().over
    assert mesh.endpoint(1).ewma_s > 4


@pytest.mark.parametrize("mode", ["hold", "refuse"])
def test_a_route_timeout_ends_the_wait_for_a_connection(plain_of: PlainOf, mode: str) -> None:
    mesh = plain_of(timeout_s=2.0)
    mesh.modes[mesh.endpoint(1).address] = mode
    client = mesh.connect()
    client.send(GET % 1)
    mesh.advance(2.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_no_route_is_503(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n")
    mesh.run()
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 503 ") and b"x-mesh-error: no_endpoint\r\n" in answer and not client.over


def test_too_many_that_wait_are_refused_at_once(plain_of: PlainOf) -> None:
    mesh = plain_of(max_pending=2)
    refuse(mesh, 1)
    clients = [mesh.connect() for _ in range(3)]
    for client in clients:
        client.send(GET % 1)
        mesh.run()
    assert b"x-mesh-error: overloaded\r\n" in clients[2].take()
    assert not clients[0].take() and not clients[1].take()


# ---- refused by the endpoint's own sidecar ----


def refusal(flag: bytes) -> bytes:
    return b"HTTP/1.1 503 Service Unavailable\r\nX-Mesh-Error: %b\r\nContent-Length: 4\r\n\r\nwhy\n" % flag


@pytest.mark.parametrize("flag", [b"connect_failed", b"no_endpoint", b"refused"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_request_that_no_application_saw_is_taken_elsewhere(plain_of: PlainOf, method: bytes, flag: bytes) -> None:
    mesh = plain_of(2, balancer="round_robin")
    client = mesh.connect()
    client.send(put(b"body", method))
    mesh.run()
    first = mesh.server()
    sent = first.take()
    first.send(refusal(flag))
    mesh.run()
    second = mesh.server()
    assert mesh.of_server[id(second)] is not mesh.of_server[id(first)]
    assert second.take() == sent
    second.send(OK)
    mesh.run()
    assert client.take() == OK
    assert mesh.outcomes() == {("success", 200, -1, ""): 1, ("retried", 503, -1, "refused"): 1}


def test_it_is_taken_elsewhere_once(plain_of: PlainOf) -> None:
    mesh = plain_of(3, balancer="round_robin")
    client = mesh.connect()
    client.send(GET % 1)
    for _ in range(2):
        mesh.run()
        mesh.server().send(refusal(b"connect_failed"))
    mesh.run()
    assert client.take() == refusal(b"connect_failed")
    assert len(mesh.sockets) == 2


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", b""),
        (refusal(b"overloaded"), b""),
        (refusal(b"upstream_lost"), b""),
        (refusal(b"connect_failed"), 40_000 * b"x"),
    ],
)
def test_other_answers_of_503_are_answers(plain_of: PlainOf, answer: bytes, body: bytes) -> None:
    mesh = plain_of(2)
    client = mesh.connect()
    client.send(put(body, b"POST"))
    mesh.run()
    mesh.server().send(answer)
    mesh.run()
    assert client.take() == answer
    assert len(mesh.sockets) == 1
