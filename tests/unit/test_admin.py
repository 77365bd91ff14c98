"""The admin server over loopback sockets: its answers, its manners, and clients that have none."""

import asyncio
import contextlib
import gzip
import http.client
import io
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin import server as admin
from proxy.admin.connection import Timeouts
from proxy.admin.exposition import Exposition
from proxy.admin.metrics import Build, PlaneCollector
from proxy.admin.server import AdminServer
from tests.support.ports import split_address
from tests.unit.fake_plane import BUCKETS_S, CallStats, Plane, busy_plane

GET_LIVE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
GET_ENDPOINTS = b"GET /endpoints HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SHORT = Timeouts(idle_s=0.2, request_s=0.2, response_s=0.2)

Run = Callable[[Awaitable[None]], None]


@dataclass
class Source:
    """A proxy as the admin server sees it."""

    plane: Plane = field(default_factory=busy_plane)
    is_ready: bool = True
    shutdowns: int = 0
    fault: Exception | None = None

    def config(self) -> dict[str, Any]:
        if self.fault:
            raise self.fault
        return {"shutdown_grace_s": 30, "listeners": [{"name": "outbound", "address": "127.0.0.1:4140"}]}

    def ready(self) -> tuple[bool, str]:
        return (True, "") if self.is_ready else (False, "no endpoints yet for voting")

    def shutdown(self) -> None:
        self.shutdowns += 1


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on the event loop that the proxy uses, and on the one without surprises."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@contextlib.asynccontextmanager
async def serving(source: Source, timeouts: Timeouts | None = None) -> AsyncIterator[AdminServer]:
    server = AdminServer(source, Exposition(PlaneCollector(source.plane, BUCKETS_S, Build("1", "1"))), timeouts)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        async with asyncio.timeout(5):
            await server.stop()


@contextlib.asynccontextmanager
async def connected(
    server: AdminServer, limit: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*split_address(server.address), limit=limit)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Replayed(io.BytesIO):
    """What `http.client` takes for a socket: it reads one answer after another from the same bytes."""

    def makefile(self, _mode: str) -> "Replayed":
        return self

    def close(self) -> None:
        pass


def answers(received: bytes, method: str = "GET") -> list[Answer]:
    """Reads what a server sent with the standard library's parser."""
    replayed = Replayed(received)
    found = []
    while replayed.tell() < len(received):
        response = http.client.HTTPResponse(replayed, method=method)  # type: ignore[arg-type]
        response.begin()
        fields = {name.lower(): value for name, value in response.getheaders()}
        found.append(Answer(response.status, fields, response.read()))
    return found


async def received(server: AdminServer, request: bytes) -> bytes:
    """All that comes back for `request` until the server closes."""
    async with connected(server) as (reader, writer), asyncio.timeout(10):
        writer.write(request)
        return await reader.read()


async def ask(server: AdminServer, path: str, method: str = "GET", *fields: str) -> Answer:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]
    (answer,) = answers(await received(server, "\r\n".join(lines).encode()), method)
    return answer


def large_plane(endpoints: int = 400) -> Plane:
    return Plane(stats=[CallStats(endpoint=f"10.0.0.{i}:80", pod=f"voting-{i}", started=i) for i in range(endpoints)])


def test_live(run):
    async def scenario():
        async with serving(Source()) as server:
            answer = await ask(server, "/live")
            assert (answer.status, answer.text) == (200, "live\n")
            assert answer.fields["content-type"] == "text/plain; charset=utf-8"
            assert "date" in answer.fields

    run(scenario())


def test_ready_says_why_not(run):
    async def scenario():
        source = Source(is_ready=False)
        async with serving(source) as server:
            answer = await ask(server, "/ready")
            assert (answer.status, answer.text) == (503, "no endpoints yet for voting\n")
            source.is_ready = True
            assert (await ask(server, "/ready?verbose")).status == 200

    run(scenario())


def test_root_lists_every_path(run):
    async def scenario():
        async with serving(Source()) as server:
            listed = [line.split()[:2] for line in (await ask(server, "/")).text.splitlines()]
            for method, path in listed:
                assert (await ask(server, path, method)).status == 200
            assert {path for _, path in listed} == {
                "/metrics",
                "/live",
                "/ready",
                "/endpoints",
                "/config",
                "/shutdown",
            }

    run(scenario())


def test_endpoints(run):
    async def scenario():
        async with serving(Source()) as server:
            answer = await ask(server, "/endpoints")
            assert answer.fields["content-type"] == "application/json"
            shown = json.loads(answer.body)
            assert list(shown) == ["voting", "emoji"]
            assert shown["emoji"] == {
                "balancer": "round_robin",
                "pending": 0,
                "failfast": True,
                "update_age_s": None,
                "endpoints": [],
            }
            assert shown["voting"]["update_age_s"] == 60
            assert shown["voting"]["endpoints"][1] == {
                "address": "10.0.0.2:8080",
                "pod": "voting-2",
                "uid": "b",
                "weight": 3,
                "state": "backoff",
                "ewma_ms": 500,
                "in_flight": 0,
                "connections": 0,
                "connect_failures": 4,
                "calls": 3,
                "failures": 0,
            }

    run(scenario())


def test_config(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            assert json.loads((await ask(server, "/config")).body) == source.config()

    run(scenario())


def test_metrics_in_the_format_asked_for(run):
    async def scenario():
        async with serving(Source()) as server:
            plain = await ask(server, "/metrics")
            assert plain.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            names = {family.name for family in text_string_to_metric_families(plain.text)}
            assert "meshctl_request" in names
            openmetrics = await ask(server, "/metrics", "GET", "Accept: application/openmetrics-text")
            assert openmetrics.fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
            assert openmetrics.text.endswith("# EOF\n")

    run(scenario())


def test_shutdown_answers_first(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            answer = await ask(server, "/shutdown", "POST", "Content-Length: 0")
            assert (answer.status, answer.text) == (200, "draining\n")
            assert source.shutdowns == 1

    run(scenario())


def test_shutdown_only_by_post_and_never_from_a_web_page(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            wrong_method = await ask(server, "/shutdown")
            assert (wrong_method.status, wrong_method.fields["allow"]) == (405, "POST")
            assert (await ask(server, "/shutdown", "POST", "Origin: http://evil.example")).status == 403
            assert source.shutdowns == 0

    run(scenario())


def test_unknown_paths_and_methods(run):
    async def scenario():
        async with serving(Source()) as server:
            assert (await ask(server, "/nothing")).status == 404
            assert (await ask(server, "/live/")).status == 404
            answer = await ask(server, "/live", "DELETE")
            assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")

    run(scenario())


@pytest.mark.parametrize("path", ["/live", "/metrics"])
def test_head_is_get_without_the_body(run, path):
    async def scenario():
        async with serving(Source(large_plane())) as server:
            head = await ask(server, path, "HEAD")
            get = await ask(server, path)
            assert (head.status, head.body) == (200, b"")
            framing = ("content-length", "transfer-encoding", "content-type")
            assert [head.fields.get(name) for name in framing] == [get.fields.get(name) for name in framing]

    run(scenario())


def test_a_connection_is_kept(run):
    def client(address: str) -> None:
        with contextlib.closing(http.client.HTTPConnection(*split_address(address), timeout=5)) as connection:
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


def test_a_slow_request_times_out(run):
    async def scenario():
        async with serving(Source(), SHORT) as server, connected(server) as (reader, writer):

            async def drip() -> None:
                with contextlib.suppress(OSError):
                    for _ in range(1000):
                        writer.write(b"G")
                        await writer.drain()
                        await asyncio.sleep(0.02)

            dripping = asyncio.ensure_future(drip())
            try:
                async with asyncio.timeout(5):
                    (answer,) = answers(await reader.read())
            finally:
                dripping.cancel()
            assert answer.status == 408

    run(scenario())


def test_a_silent_connection_is_closed_without_a_word(run):
    async def scenario():
        async with serving(Source(), SHORT) as server:
            assert await received(server, b"") == b""
            kept = await received(server, GET_LIVE)
            assert [answer.status for answer in answers(kept)] == [200]

    run(scenario())


def test_a_client_that_does_not_read_is_cut_and_holds_nobody_up(run):
    async def scenario():
        plane = large_plane(6000)  # more than the kernel's buffers on both sides take
        async with serving(Source(plane), SHORT) as server, connected(server, limit=1024) as (reader, writer):
            writer.write(GET_METRICS + b"\r\n")
            assert (await ask(server, "/live")).status == 200
            await asyncio.sleep(2 * SHORT.response_s)
            # What had got through comes, the end never.
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(5):
                    assert not (await reader.read()).endswith(b"0\r\n\r\n")

    run(scenario())


def test_a_large_answer_in_every_encoding(run):
    async def scenario():
        async with serving(Source(large_plane())) as server:
            plain = await ask(server, "/metrics")
            assert plain.fields["transfer-encoding"] == "chunked"
            assert len(plain.body) > 200_000

            packed = await ask(server, "/metrics", "GET", "Accept-Encoding: br;q=1.0, gzip;q=0.5")
            assert packed.fields["content-encoding"] == "gzip"
            assert len(packed.body) < len(plain.body) / 10

            refused = await ask(server, "/metrics", "GET", "Accept-Encoding: gzip;q=0.0, *")
            assert "content-encoding" not in refused.fields

            (old,) = answers(await received(server, b"GET /metrics HTTP/1.0\r\n\r\n"))
            assert "transfer-encoding" not in old.fields

            bodies = [plain.body, gzip.decompress(packed.body), refused.body, old.body]
            samples = [[line for line in body.splitlines() if b"process" not in line] for body in bodies]
            assert samples[0] == samples[1] == samples[2] == samples[3]

    run(scenario())


def test_half_a_surrogate_does_not_spoil_a_scrape(run):
    async def scenario():
        async with serving(Source(Plane(stats=[CallStats(authority="\udc80", started=3)]))) as server:
            assert 'meshctl_request_total{authority="?",' in (await ask(server, "/metrics")).text

    run(scenario())


def test_the_event_loop_turns_while_a_large_answer_is_made(run):
    async def scenario():
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with serving(Source(large_plane(2000))) as server:
            calls = asyncio.ensure_future(others())
            answer = await ask(server, "/metrics")
            calls.cancel()
        # At least one turn for each piece.
        assert turns > len(answer.body) / 50_000 > 20

    run(scenario())


def test_a_fault_is_an_answer(run, caplog):
    async def scenario():
        source = Source(fault=RuntimeError("the reason"))
        async with serving(source) as server:
            answer = await ask(server, "/config")
            assert (answer.status, answer.text) == (500, "fault in the admin server\n")
            assert (await ask(server, "/live")).status == 200

    run(scenario())
    assert "the reason" in caplog.text


def test_a_fault_in_the_middle_of_an_answer_shows(run, caplog):
    async def scenario():
        source = Source(large_plane())
        source.plane.stats[-1].end_s.counts = [1]
        async with serving(source) as server:
            with pytest.raises(http.client.IncompleteRead):
                answers(await received(server, GET_METRICS + b"\r\n"))
            assert (await ask(server, "/live")).status == 200

    run(scenario())
    assert "broke off" in caplog.text


def test_a_client_that_leaves_is_no_fault(run, caplog):
    async def scenario():
        async with serving(Source(large_plane(2000))) as server:
            for request in (b"", b"GET", GET_LIVE, GET_METRICS + b"\r\n"):
                async with connected(server) as (_, writer):
                    writer.write(request)
                    await writer.drain()
                    linger = (1).to_bytes(4, "little") + bytes(4)  # on, 0 s: close by reset
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
            assert (await ask(server, "/live")).status == 200

    run(scenario())
    assert caplog.text == ""


def test_too_many_connections_are_refused(run):
    async def scenario():
        async with serving(Source()) as server, contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(connected(server)) for _ in range(admin.MAX_CONNECTIONS)]
            for reader, writer in streams:
                writer.write(GET_LIVE)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            (refused,) = answers(await received(server, b""))
            assert (refused.status, refused.fields["connection"]) == (503, "close")
            streams[0][1].close()
            for _ in range(500):
                answer = await ask(server, "/live")
                if answer.status == 200:
                    break
                await asyncio.sleep(0.01)
            assert answer.status == 200

    run(scenario())


def test_stop_closes_idle_connections_at_once(run):
    async def scenario():
        server = AdminServer(Source(), Exposition(PlaneCollector(Plane(), BUCKETS_S, Build("1", "1"))))
        await server.start("127.0.0.1", 0)
        address = split_address(server.address)
        async with connected(server) as (kept, writer), connected(server) as (silent, _):
            writer.write(GET_LIVE)
            await kept.readuntil(b"live\n")
            before = asyncio.get_running_loop().time()
            await server.stop()
            assert asyncio.get_running_loop().time() - before < admin.STOP_GRACE_S / 2
            assert await kept.read() == b""
            assert await silent.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    run(scenario())


def test_stop_lets_an_answer_finish_and_begins_no_other(run):
    async def scenario():
        async with serving(Source(large_plane(300))) as server, connected(server) as (reader, writer):
            writer.write(GET_METRICS.replace(b"Connection: close\r\n", b"") + b"\r\n" + GET_LIVE)
            begun = await reader.readuntil(b"\r\n\r\n")
            stopping = asyncio.ensure_future(server.stop())
            (answer,) = answers(begun + await reader.read())
            assert answer.text.count("meshctl_request_total{") == 300
            await stopping

    run(scenario())


def test_stop_does_not_wait_for_a_client_that_does_not_read(run):
    async def scenario():
        async with serving(Source(large_plane(4000))) as server, connected(server, limit=1024) as (_, writer):
            writer.write(GET_METRICS + b"\r\n")
            await asyncio.sleep(0.1)
            async with asyncio.timeout(2 * admin.STOP_GRACE_S + 1):
                await server.stop()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left

    run(scenario())


def test_stop_without_start(run):
    run(AdminServer(Source(), Exposition(PlaneCollector(Plane(), BUCKETS_S, Build("1", "1")))).stop())


def test_ipv6(run):
    async def scenario():
        server = AdminServer(Source(), Exposition(PlaneCollector(Plane(), BUCKETS_S, Build("1", "1"))))
        try:
            await server.start("::1", 0)
        except OSError:
            pytest.skip("no IPv6 on loopback")
        try:
            assert server.address.startswith("[::1]:")
            assert (await ask(server, "/live")).status == 200
        finally:
            await server.stop()

    run(scenario())


def test_an_address_in_use(run):
    async def scenario():
        async with serving(Source()) as server:
            other = AdminServer(Source(), Exposition(PlaneCollector(Plane(), BUCKETS_S, Build("1", "1"))))
            with pytest.raises(OSError, match="in use"):
                await other.start(*split_address(server.address))

    run(scenario())
