"""One connection through the fault proxy: two sockets and a pump for each direction.

A pump reads, keeps each piece for the latency, and writes it as its `Direction` says. Belongs to the event loop of
`tests.support.fault_proxy`, which alone makes relays; knows no listener and no other connection.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from enum import Enum

_READ_BYTES = 64 * 1024
_QUEUED_PIECES = 64  # what is on its way at most, in each direction
_TICK_S = 0.005  # how often a pump looks whether it is still held
_SLICES_PER_S = 50  # a limited direction gets its bytes in so many portions a second
_DELIVERY_S = 2


class Cut(Enum):
    FIN = "FIN"
    RST = "RST"


class Direction:
    """How bytes move one way, for all connections of a proxy. Set it from any thread.

    latency_s     each piece arrives so much later
    bytes_per_s   at most so many; 0: no limit
    piece_bytes   written in pieces of so many at most, each a segment of its own; 0: as they come
    held          nothing is read or written, nor is a FIN passed on
    passed_bytes  how many were written on, over all connections
    """

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.bytes_per_s = 0
        self.piece_bytes = 0
        self.held = False
        self.passed_bytes = 0
        self._cut: tuple[int, Cut] | None = None

    def cut_after(self, count: int, how: Cut) -> None:
        """The next connection over which `count` more bytes went this way, all connections together, is cut there.

        Exactly `count` arrive. It happens once.
        """
        self._cut = (self.passed_bytes + count, how)

    def take(self, size: int) -> tuple[int, Cut | None]:
        """How many of `size` bytes go in the next write (they are counted), and how to cut the connection after it."""
        if self.piece_bytes:
            size = min(size, self.piece_bytes)
        if self.bytes_per_s:
            size = min(size, max(self.bytes_per_s // _SLICES_PER_S, 1))
        how = None
        if self._cut is not None and self.passed_bytes + size >= self._cut[0]:
            size = self._cut[0] - self.passed_bytes
            how, self._cut = self._cut[1], None
        self.passed_bytes += size
        return size, how


class Relay:
    """`client` is accepted; `start` connects the other side. Calls `on_end` once, when both sides are closed."""

    def __init__(
        self, client: socket.socket, up: Direction, down: Direction, on_end: Callable[["Relay"], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._server = socket.socket()
        self._up, self._down = up, down
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._pumps: dict[Direction, asyncio.Task[None]] = {}
        self._lingering: asyncio.Task[None] | None = None
        self.ending = False
        for each in (self._client, self._server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self, target: tuple[str, int]) -> None:
        self._task = self._loop.create_task(self._run(target))

    async def _run(self, target: tuple[str, int]) -> None:
        try:
            await self._loop.sock_connect(self._server, target)
        except OSError:
            await self._end(Cut.RST)
            return
        self._pumps = {
            self._up: self._loop.create_task(self._pump(self._client, self._server, self._up)),
            self._down: self._loop.create_task(self._pump(self._server, self._client, self._down)),
        }
        # A direction that was half-closed on demand is a cancelled pump, and no reason to end the other.
        ended, _ = await asyncio.wait(self._pumps.values(), return_when=asyncio.FIRST_EXCEPTION)
        broken = any(not pump.cancelled() and pump.exception() for pump in ended)
        await self._end(Cut.RST if broken else Cut.FIN)

    async def cut(self, how: Cut) -> None:
        """Returns when FIN or RST went out on both sides."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._end(how)

    def half_close(self, direction: Direction) -> None:
        pump = self._pumps.get(direction)
        if pump is not None and not pump.done():
            pump.cancel()
            _shut(self._server if direction is self._up else self._client)

    async def _end(self, how: Cut) -> None:
        self.ending = True
        for pump in self._pumps.values():
            pump.cancel()
        await asyncio.gather(*self._pumps.values(), return_exceptions=True)
        if self._lingering is not None:
            self._lingering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._lingering
        elif how is Cut.FIN:
            _shut(self._client)
            _shut(self._server)
            self._lingering = self._loop.create_task(self._linger())
        else:
            for each in (self._client, self._server):
                await _wait_until_delivered(each)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close()

    async def _linger(self) -> None:
        """After FIN, what the peers still send is read away for a while: a close with bytes unread would send RST."""
        try:
            await asyncio.gather(_read_away(self._client), _read_away(self._server))
        finally:
            self._close()

    def _close(self) -> None:
        self._client.close()
        self._server.close()
        self._on_end(self)

    async def _pump(self, source: socket.socket, destination: socket.socket, direction: Direction) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_PIECES)
        writing = self._loop.create_task(self._write(pieces, destination, direction))
        reading = self._loop.create_task(self._read(source, pieces, direction))
        try:
            await asyncio.gather(reading, writing)
        finally:
            for task in (reading, writing):
                task.cancel()
            # No socket may be closed while the loop still watches it.
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(
        self, source: socket.socket, pieces: asyncio.Queue[tuple[float, bytes]], direction: Direction
    ) -> None:
        data = b"-"
        while data:
            await _while_held(direction)
            data = await self._loop.sock_recv(source, _READ_BYTES)
            await pieces.put((self._loop.time() + direction.latency_s, data))

    async def _write(
        self, pieces: asyncio.Queue[tuple[float, bytes]], destination: socket.socket, direction: Direction
    ) -> None:
        while True:
            due_s, data = await pieces.get()
            await asyncio.sleep(due_s - self._loop.time())
            await _while_held(direction)
            if not data:
                _shut(destination)
                return
            await self._deliver(memoryview(data), destination, direction)

    async def _deliver(self, data: memoryview, destination: socket.socket, direction: Direction) -> None:
        while data:
            await _while_held(direction)
            size, how = direction.take(len(data))
            await self._loop.sock_sendall(destination, data[:size])
            data = data[size:]
            if how is not None:
                # Not by this task, which is one of those that it ends.
                await asyncio.shield(self._loop.create_task(self.cut(how)))
            if direction.bytes_per_s:
                await asyncio.sleep(size / direction.bytes_per_s)
            elif direction.piece_bytes:
                await asyncio.sleep(0.001)  # so that the receiver has read this one before the next


async def _while_held(direction: Direction) -> None:
    while direction.held:  # noqa: ASYNC110 - it is set from another thread, as a plain value
        await asyncio.sleep(_TICK_S)


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_WR)


async def _wait_until_delivered(each: socket.socket) -> None:
    """A reset drops what is not acknowledged yet; the bytes that were counted are to arrive."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_DELIVERY_S):
            # A socket that has no peer (any more) raises.
            while each.getpeername() and int.from_bytes(fcntl.ioctl(each, termios.TIOCOUTQ, bytes(4)), "little"):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def _read_away(each: socket.socket) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_DELIVERY_S):
            while await asyncio.get_running_loop().sock_recv(each, _READ_BYTES):
                pass
