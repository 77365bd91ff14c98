"""From accepted connection to protocol, on real sockets: any cut, silence, and ends (semantics: 10)."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from proxy.address import SocketAddress
from proxy.config import ListenerConfig
from proxy.dataplane import Cluster, DataPlane, Origin, Relay, Router
from proxy.discovery import EndpointAddress
from proxy.net.dialer import Dialer
from proxy.net.gate import Gate
from proxy.net.intake import Intake

PATIENCE_S = 60
QUIET_S = 0.5  # longer than the proxy waits before it asks whether the server speaks first
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
SETTINGS = b"\4\0\0\0\0\0"  # type, no flags, stream 0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Stage:
    """A listener with detection in front of one backend."""

    plane: DataPlane
    intake: Intake
    port: int
    seen: list[bytearray] = field(default_factory=list)  # by connection to the backend
    ends: list[asyncio.Event] = field(default_factory=list)

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def reaches(self, condition: Callable[[], object]) -> None:
        """Returns when it is so; the test ends when that takes too long."""
        while not condition():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.01)


def staged(test: Callable[[Stage], Coroutine[Any, Any, None]], serve: Serve | None, **settings: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), stage(serve, **settings) as made:
            await test(made)
            assert made.plane.faults == 0, repr(made.plane.last_fault)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@asynccontextmanager
async def stage(serve: Serve | None, detect_timeout_s: float = 10.0, tcp_route: bool = True) -> AsyncIterator[Stage]:
    """`serve` has each connection to the backend; None: it cannot be reached."""
    plane = DataPlane(asyncio.get_running_loop())
    dialer = Dialer(plane)
    seen: list[bytearray] = []
    ends: list[asyncio.Event] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data, end = bytearray(), asyncio.Event()
        seen.append(data)
        ends.append(end)
        assert serve is not None
        with contextlib.suppress(ConnectionError):
            await serve(Tee(reader, data), writer)  # type: ignore[arg-type]
        end.set()
        writer.close()

    backend = await asyncio.start_server(accepted, "127.0.0.1", 0)
    host, port = backend.sockets[0].getsockname()
    if serve is None:
        backend.close()
    clusters = {}
    for protocol in ("http1", "tcp"):
        clusters[protocol] = Cluster(plane, "backend", protocol=protocol, only=True)
        plane.turn(clusters[protocol].reset, [EndpointAddress(host, port)])

    def resolve(_listener: str, _destination: str, _authority: str, _path: str, protocol: str) -> Any:
        known = protocol in clusters and (tcp_route or protocol != "tcp")
        return ([(clusters[protocol], 1)], None) if known else None

    config = ListenerConfig(name="l", address=SocketAddress("127.0.0.1", 0), protocol="detect", opaque_ports=())
    router = Router(plane, resolve)
    gate = Gate(1000, lambda _: None)
    intake = Intake(
        config, router, lambda *_: False, detect_timeout_s=detect_timeout_s, own_ports=lambda: (), gate=gate
    )
    plane.on_disconnect = gate.leave
    listener = await asyncio.get_running_loop().create_server(intake.protocol, "127.0.0.1", 0)
    try:
        yield Stage(plane, intake, listener.sockets[0].getsockname()[1], seen, ends)
    finally:
        listener.close()
        backend.close()
        for connection in list(plane.downstreams):
            connection.close()
        for cluster in clusters.values():
            plane.turn(cluster.close)
        dialer.close()
        await asyncio.sleep(0.05)


class Tee:
    """A reader that keeps what was read."""

    def __init__(self, reader: asyncio.StreamReader, data: bytearray) -> None:
        self._reader = reader
        self._data = data

    async def read(self, n: int = 65536) -> bytes:
        data = await self._reader.read(n)
        self._data += data
        return data


async def http1(reader: Any, writer: asyncio.StreamWriter) -> None:
    """Answers each read that ends a request."""
    data = b""
    while piece := await reader.read():
        data += piece
        if data.endswith(b"\r\n\r\n"):
            writer.write(RESPONSE)
            data = b""


async def echo(reader: Any, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read():
        writer.write(piece)
    writer.write(b"|end")


async def greet(reader: Any, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 ready\r\n")
    await echo(reader, writer)


async def say(writer: asyncio.StreamWriter, *pieces: bytes) -> None:
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.002)


async def cut(at: Stage, data: bytes, answer: bytes) -> None:
    """Say `data` in two pieces, cut at every byte, and in single bytes; the beginning of the answer is `answer`."""
    for pieces in [(data[:n], data[n:]) for n in range(1, len(data))] + [
        tuple(data[i : i + 1] for i in range(len(data)))
    ]:
        reader, writer = await at.connect()
        await say(writer, *pieces)
        assert (await reader.readexactly(len(answer))) == answer, pieces
        writer.close()


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="shop.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    return outgoing.read()


def test_http1_is_found_across_any_cut() -> None:
    async def test(at: Stage) -> None:
        await cut(at, REQUEST, RESPONSE)
        assert at.intake.found == {"http1": len(REQUEST)}

    staged(test, http1)


def test_http2_is_found_across_any_cut() -> None:
    async def test(at: Stage) -> None:
        for n in range(1, len(PREFACE)):
            reader, writer = await at.connect()
            await say(writer, PREFACE[:n], PREFACE[n:])
            assert (await reader.readexactly(9))[3:] == SETTINGS
            writer.close()
        assert at.intake.found == {"http2": len(PREFACE) - 1}

    staged(test, http1)


@pytest.mark.parametrize(
    "head", [b"\0", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"], ids=["tcp", "http1"]
)
def test_a_server_that_does_not_read_is_waited_for(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long: it may be waiting for a lock, or for whom it passes the bytes on to."""
    monkeypatch.setattr("proxy.net.liveness.UNACKNOWLEDGED_MS", 300)
    size = 16 << 20

    async def busy(reader: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)
        left = size
        while left > 0 and (piece := await reader.read()):
            left -= len(piece)
        writer.write(RESPONSE if left <= 0 else b"lost")

    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        writer.write((head % size if b"%" in head else head) + bytes(size))
        assert await reader.readexactly(len(RESPONSE)) == RESPONSE
        writer.close()

    staged(test, busy)


@pytest.mark.parametrize("own_port", [False, True])
def test_a_dial_without_descriptors_fails_and_its_caller_is_told(own_port: bool) -> None:
    async def main() -> None:
        plane = DataPlane(asyncio.get_running_loop())
        dialer = Dialer(plane, own_ports=lambda: {80} if own_port else ())
        cluster = Cluster(plane, "backend", protocol="tcp", only=True)
        plane.turn(cluster.reset, [EndpointAddress("127.0.0.1", 80)])
        relay = Relay(Router(plane, lambda *_: ([(cluster, 1)], None)), Origin("l"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            relay.begin()
            for _ in range(100 * PATIENCE_S):
                if relay.is_over:
                    break
                await asyncio.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        (endpoint,) = cluster.endpoints
        assert relay.is_over, "nobody told the caller"
        assert endpoint.connect_failures == 1 and "Too many open files" in str(endpoint.last_error)
        dialer.close()
        plane.turn(cluster.close)

    uvloop.run(main())


def test_other_bytes_are_passed_on_across_any_cut() -> None:
    async def test(at: Stage) -> None:
        await cut(at, b"GET \0\xff", b"GET \0\xff")
        assert at.intake.found == {"tcp": 6}

    staged(test, echo)


def test_a_tls_hello_is_passed_on_across_any_cut_and_its_name_is_kept() -> None:
    async def test(at: Stage) -> None:
        hello = client_hello()
        for n in (1, 5, 6, 100, len(hello) - 1):
            reader, writer = await at.connect()
            await say(writer, hello[:n], hello[n:])
            assert await reader.readexactly(len(hello)) == hello
            writer.close()
        assert at.intake.found == {"tls": 5}
        assert {stats.authority for stats in at.plane.call_stats()} == {"shop.test"}

    staged(test, echo)


def test_a_server_that_speaks_first_is_heard() -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        assert await reader.readexactly(11) == b"220 ready\r\n"
        await say(writer, b"GET / HTTP/1.1\r\n")
        assert await reader.readexactly(16) == b"GET / HTTP/1.1\r\n"
        writer.write_eof()
        assert await reader.read() == b"|end"
        writer.close()
        assert at.intake.found == {"tcp": 1} and at.intake.timeouts == 0

    staged(test, greet)


@pytest.mark.parametrize("tcp_route", [True, False])
def test_http_after_a_quiet_start_is_http(tcp_route: bool) -> None:
    """A client may connect before it has something to ask. The connection made meanwhile is given up."""

    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        if tcp_route:
            await at.reaches(lambda: at.ends)
        else:
            await asyncio.sleep(QUIET_S)
        assert len(at.seen) == int(tcp_route)
        await say(writer, REQUEST)
        assert await reader.readexactly(len(RESPONSE)) == RESPONSE
        if tcp_route:
            await at.ends[0].wait()
            assert not at.seen[0]
        writer.close()
        assert at.intake.found == {"http1": 1}

    staged(test, http1, tcp_route=tcp_route)


def test_silence_on_both_sides_is_tcp_in_the_end() -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        await at.reaches(lambda: at.intake.timeouts)
        assert at.intake.timeouts == 1
        await say(writer, REQUEST)
        assert await reader.readexactly(len(REQUEST)) == REQUEST
        writer.close()
        assert at.intake.found == {"tcp": 1} and len(at.seen) == 1

    staged(test, echo, detect_timeout_s=QUIET_S)


def test_a_beginning_that_does_not_go_on_is_passed_on_in_the_end() -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        await say(writer, b"GE")
        assert await reader.readexactly(2) == b"GE"
        writer.close()
        assert at.intake.found == {"tcp": 1} and at.intake.timeouts == 1

    staged(test, echo, detect_timeout_s=QUIET_S)


def test_a_beginning_that_ends_is_passed_on_with_its_end() -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        writer.write(b"GE")
        writer.write_eof()
        assert await reader.read() == b"GE|end"
        writer.close()

    staged(test, echo)


@pytest.mark.parametrize("quiet_s", [0, QUIET_S])
def test_a_connection_without_a_byte_is_no_error(quiet_s: float) -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        if quiet_s:
            await at.reaches(lambda: at.ends)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert at.intake.found == {"none": 1} and at.intake.timeouts == 0 and not at.intake.looking
        if quiet_s:
            await at.ends[0].wait()
        assert at.plane.calls == 0
        assert not [o for s in at.plane.call_stats() for o in s.responses() if o[0] == "failure"]

    staged(test, echo)


@pytest.mark.parametrize("first", [b"", b"\0"])
def test_a_server_that_cannot_be_reached_is_a_reset(first: bytes) -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        await say(writer, first)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()

    staged(test, None)


def test_large_streams_pass_both_ways() -> None:
    async def test(at: Stage) -> None:
        reader, writer = await at.connect()
        data = bytes(range(1, 256)) * 40_000
        writer.write(b"\0" + data)
        writer.write_eof()
        assert await reader.read() == b"\0" + data + b"|end"
        writer.close()

    staged(test, echo)
