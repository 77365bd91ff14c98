"""Requests to the admin server as bytes: right, unusual, and wrong (RFC 9112)."""

import asyncio
import contextlib
import http.client

import pytest

from tests.support.ports import split_address
from tests.unit.admin.stage import (
    GET_LIVE,
    GET_METRICS,
    Source,
    answers,
    ask,
    connected,
    large_plane,
    received,
    serving,
)


def test_a_connection_is_kept(run):
    def client(address: str) -> None:
        with contextlib.closing(http.client.HTTPConnection(*split_address(address), timeout=30)) as connection:
            connection.connect()
            port = connection.sock.getsockname()[1]
            for path, body in (("/live", b"live\n"), ("/nothing", b"not found\n"), ("/ready", b"ready\n")):
                connection.request("GET", path)
                assert connection.getresponse().read() == body
            connection.request("POST", "/shutdown", body=b"please")
            assert connection.getresponse().read() == b"draining\n"
            connection.request("GET", "/metrics")
            assert b"meshctl_request_total" in connection.getresponse().read()
            assert connection.sock.getsockname()[1] == port

    async def scenario():
        async with serving(Source(large_plane())) as server:
            await asyncio.to_thread(client, server.address)

    run(scenario())


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, Close\r\n\r\n",
        b"GET /live HTTP/1.0\r\n\r\n",
        b"GET /live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
)
def test_a_connection_is_closed(run, request_bytes):
    async def scenario():
        async with serving(Source()) as server:
            (answer,) = answers(await received(server, request_bytes))
            assert (answer.status, answer.fields["connection"]) == (200, "close")

    run(scenario())


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n" + GET_LIVE,
        b"GET http://whatever.example/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /live?a=b&c HTTP/1.1\r\nhost:x\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nAccept: a\r\nAccept: b\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\nX: \xff\tok\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(99)) + b"\r\n",
    ],
)
def test_unusual_requests_that_are_right(run, request_bytes):
    async def scenario():
        async with serving(Source()) as server:
            both = answers(await received(server, request_bytes + GET_METRICS + b"\r\n"))
            assert [answer.status for answer in both] == [200, 200]

    run(scenario())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /live\r\n\r\n", 400),
        (b"GET  /live HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /live HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
        (b"GET /li\x00ve HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET live HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G(T /live HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /live HTTP/1.1\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET /live HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /shutdown HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", 417),
        (b"GET /live HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
        (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"a" * 1_000_000, 414),
        (b"GET /live HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 8200 + b"\r\n\r\n", 431),
        (b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
        (b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000, 431),
    ],
)
def test_wrong_requests_are_refused_and_the_connection_closed(run, request_bytes, status):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            (answer,) = answers(await received(server, request_bytes))
            assert (answer.status, answer.fields["connection"]) == (status, "close")
            assert answer.text.count("\n") == 1
            assert source.shutdowns == 0
            assert (await ask(server, "/live")).status == 200

    run(scenario())


def test_half_a_request_is_refused_when_no_more_comes(run):
    async def scenario():
        async with serving(Source()) as server, connected(server) as (reader, writer):
            writer.write(b"GET /live HTTP/1.1\r\nHo")
            writer.write_eof()
            (answer,) = answers(await reader.read())
            assert (answer.status, answer.text) == (400, "incomplete request\n")

    run(scenario())


def test_pipelined_requests_are_answered_in_order_up_to_the_garbage(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            ready = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"
            stop = b"POST /shutdown HTTP/1.1\r\nHost: x\r\n\r\n"
            got = answers(await received(server, GET_LIVE + ready + b"\x00\xff garbage\r\n" + stop))
            assert [(answer.status, answer.text) for answer in got] == [
                (200, "live\n"),
                (200, "ready\n"),
                (400, "malformed request line\n"),
            ]
            assert source.shutdowns == 0

    run(scenario())


def test_a_request_in_single_bytes(run):
    async def scenario():
        async with serving(Source()) as server, connected(server) as (reader, writer):
            for byte in GET_LIVE.replace(b"Host", b"Connection: close\r\nHost"):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            (answer,) = answers(await reader.read())
            assert answer.text == "live\n"

    run(scenario())
