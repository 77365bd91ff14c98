"""Bodies of HTTP/1.x: where they end, byte for byte, and what a client can tell of one that is not whole."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKS = b"5;ext=1\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX-Trailer: t\r\nx-other:  \r\n\r\n"
POST_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
OK_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asked(mesh: PlainMesh, request: bytes = GET) -> tuple[Socket, Socket]:
    client = mesh.connect()
    client.send(request)
    mesh.run()
    return client, mesh.server()


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_chunks_and_trailers_pass_byte_for_byte(plain_of: PlainOf, piece: int) -> None:
    mesh = plain_of()
    client = mesh.connect()
    for data, one, other in ((POST_CHUNKED + CHUNKS, client, None), (OK_CHUNKED + CHUNKS, None, client)):
        sender = one or mesh.server()
        for i in range(0, len(data), piece):
            sender.send(data[i : i + piece])
            mesh.run()
        assert (other or mesh.server()).take() == data
    client.send(GET)
    mesh.run()
    assert len(mesh.sockets) == 1 and mesh.server().take() == GET
    assert mesh.outcomes() == {("success", 200, -1, ""): 1}
    stats = next(s for s in mesh.stats() if s.ended)
    assert (stats.request_bytes, stats.response_bytes) == (15, 15)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_status_without_a_body_has_none(plain_of: PlainOf, status: bytes) -> None:
    mesh = plain_of()
    client, server = asked(mesh, GET + GET)
    head = b"HTTP/1.1 " + status + b"\r\n" + (b"Content-Length: 9\r\n" if b"304" in status else b"") + b"\r\n"
    server.send(head)
    mesh.run()
    server.send(OK)
    mesh.run()
    assert client.take() == head + OK


@pytest.mark.parametrize("framing", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_response_to_head_has_no_body(plain_of: PlainOf, framing: bytes) -> None:
    mesh = plain_of()
    client, server = asked(mesh, HEAD + GET)
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n"
    server.send(head)
    mesh.run()
    server.send(OK)
    mesh.run()
    assert client.take() == head + OK


def test_a_reply_of_ours_to_head_has_no_body(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh, HEAD)
    server.send(b"nonsense\r\n\r\n")
    mesh.run()
    assert client.take().endswith(b"\r\n\r\n")


def test_a_client_that_waits_for_100_continue_hears_it(plain_of: PlainOf) -> None:
    mesh = plain_of()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    client, server = asked(mesh, head)
    assert server.take() == head
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    mesh.run()
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    mesh.run()
    assert server.take() == b"body"
    server.send(OK)
    mesh.run()
    assert client.take() == OK


def test_interim_responses_pass_but_not_to_http_1_0(plain_of: PlainOf) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    mesh = plain_of()
    for request, heard in ((GET, hints * 3 + OK), (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", None)):
        client, server = asked(mesh, request)
        server.send(hints * 3 + OK)
        mesh.run()
        answer = client.take()
        assert answer == heard if heard else b"103" not in answer and answer.endswith(b"ok")


def test_too_many_interim_responses_are_502(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101)
    mesh.run()
    answer = client.take()
    assert answer.count(b"HTTP/1.1 103") == 100 and b"HTTP/1.1 502 Bad Gateway" in answer
    assert server.over


def test_a_response_that_the_connections_end_ends(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
    mesh.run()
    server.send(b"lo")
    server.finish()
    mesh.run()
    assert client.take() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert client.ended and not client.broken
    assert mesh.outcomes() == {("success", 200, -1, ""): 1}


def test_a_response_without_a_length_that_breaks_is_a_reset(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
    mesh.run()
    server.reset()
    mesh.run()
    assert client.broken
    assert mesh.outcomes() == {("failure", 200, -1, "upstream_lost"): 1}


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("response", [OK[:-1], OK_CHUNKED + b"5\r\nhel", OK_CHUNKED + CHUNKS[:-2]])
def test_a_response_that_breaks_ends_the_clients_connection(plain_of: PlainOf, response: bytes, end: str) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(response)
    mesh.run()
    getattr(server, end)()
    mesh.run()
    assert client.take() == response and client.over
    assert mesh.outcomes() == {("failure", 200, -1, "upstream_lost"): 1}


def test_a_response_that_is_longer_than_it_said_is_cut_at_its_length(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(OK + b"and more")
    mesh.run()
    assert client.take() == OK and not client.over and server.over


def test_broken_chunks_of_a_response_end_the_clients_connection(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(OK_CHUNKED + b"5\r\nhello\r\n")
    mesh.run()
    server.send(b"zz\r\n")
    mesh.run()
    assert client.take() == OK_CHUNKED + b"5\r\nhello\r\n" and client.over and server.over
    assert mesh.outcomes() == {("failure", 200, -1, "upstream_protocol"): 1}


def test_an_answer_that_comes_before_the_requests_end_is_the_last(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
    server.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    mesh.run()
    assert client.take() == b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    assert client.ended and server.over
    client.send(b"x" * 1000 + GET)
    mesh.run()
    assert not client.broken, "a reset would overtake the answer"
    assert len(mesh.sockets) == 1
    assert mesh.outcomes() == {("success", 413, -1, ""): 1}


def test_both_bodies_may_run_at_once(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh, POST_CHUNKED)
    server.take()
    server.send(OK_CHUNKED)
    for _ in range(3):
        client.send(b"1\r\na\r\n")
        mesh.run()
        assert server.take() == b"1\r\na\r\n"
        server.send(b"1\r\nb\r\n")
        mesh.run()
        assert client.take().endswith(b"1\r\nb\r\n")
    client.send(b"0\r\n\r\n")
    mesh.run()
    server.send(b"0\r\n\r\n")
    mesh.run()
    client.send(GET)
    mesh.run()
    assert server.take() == b"0\r\n\r\n" + GET, "both connections are used again"


# ---- what the far end must not send ----


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x00\xa5",
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_malformed_request_is_400_and_the_end(plain_of: PlainOf, request_bytes: bytes, piece: int) -> None:
    mesh = plain_of()
    client = mesh.connect()
    data = request_bytes + GET
    for i in range(0, len(data), piece):
        client.send(data[i : i + piece])
        mesh.run()
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
    assert client.ended and not mesh.sockets and mesh.plane.malformed == 1


def test_broken_chunks_of_a_request_are_400_and_go_no_further(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client, server = asked(mesh, POST_CHUNKED + b"5\r\nhello\r\n")
    client.send(b"0\r\nContent-Length: 1\r\n\r\n" + GET)
    mesh.run()
    assert client.take().startswith(b"HTTP/1.1 400 ") and client.ended
    assert server.take() == POST_CHUNKED + b"5\r\nhello\r\n" and server.over
    assert mesh.outcomes() == {("cancelled", 400, -1, ""): 1}


def test_a_head_over_the_limits_is_431(plain_of: PlainOf) -> None:
    mesh = plain_of()
    for field in (b"X: y\r\n" * 101, b"X: %b\r\n" % (b"y" * 66_000), b"X: %b" % (b"y" * 80_000)):
        client = mesh.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n")
        mesh.run()
        assert client.take().startswith(b"HTTP/1.1 431 ") and client.ended
    assert not mesh.sockets


@pytest.mark.parametrize(
    "response",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 66_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 90_000,
    ],
)
def test_a_malformed_response_is_502(plain_of: PlainOf, response: bytes) -> None:
    mesh = plain_of()
    client, server = asked(mesh)
    server.send(response)
    mesh.run()
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n") and b"x-mesh-error: upstream_protocol\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1 and not client.over and server.over
    assert mesh.outcomes() == {("failure", 502, -1, "upstream_protocol"): 1}
