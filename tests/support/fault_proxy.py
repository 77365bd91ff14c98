"""A TCP proxy that fails as a test tells it to, while it runs: slow, cut, half-open, mute, unreachable.

    with FaultProxy(server_address) as proxy:
        connect to proxy.address
        proxy.up.latency_s = 0.2              # client to server; `proxy.down` is the other way
        proxy.up.cut_after(1000, Cut.RST)

It runs in a thread of its own with an event loop of its own, and knows nothing of what passes through it. Settings of
a `Direction` are read again for every piece, so they hold from the next piece on, for all connections; methods return
when what they do is done. Owns every socket it makes and closes them at the end.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.fault_relay import Cut, Direction, Relay
from tests.support.ports import free_address, split_address

_BACKLOG = 128
_ANSWER_S = 10

T = TypeVar("T")

__all__ = ["Cut", "Direction", "FaultProxy"]


class FaultProxy:
    """Forwards what connects to `address` to `target` (IPv4 "host:port" both). A context manager."""

    def __init__(self, target: str, address: str | None = None) -> None:
        self.address = address or free_address()
        self.up = Direction()
        self.down = Direction()
        self.accepted = 0
        self._target = split_address(target)
        self._mute = False
        self._relays: set[Relay] = set()
        self._fillers: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")

    @property
    def connections(self) -> int:
        """Those that are neither cut nor at their end."""
        return sum(not relay.ending for relay in tuple(self._relays))

    def hold(self) -> None:
        """Half-open peers: from now on neither side is read or written, and nothing is closed."""
        self.up.held = self.down.held = True

    def release(self) -> None:
        """What was held moves again."""
        self.up.held = self.down.held = False

    def mute(self) -> None:
        """A black hole: new connections are accepted, never read, never answered, and go nowhere."""
        self._mute = True

    def unmute(self) -> None:
        """New connections are forwarded again; those accepted before stay where they are."""
        self._mute = False

    def cut(self, how: Cut = Cut.FIN) -> None:
        """Ends every connection at once, on both sides."""

        async def cut_all() -> None:
            await asyncio.gather(*(relay.cut(how) for relay in tuple(self._relays)))

        self._do(cut_all())

    def half_close(self, direction: Direction) -> None:
        """Ends one direction of every connection (the receiver sees EOF), and leaves the other as it is."""

        async def half_close_all() -> None:
            for relay in tuple(self._relays):
                relay.half_close(direction)

        self._do(half_close_all())

    def refuse(self) -> None:
        """Closes the listening socket: to connect fails at once. Connections that are there stay."""
        self._do(self._stop_listening())

    def ignore(self) -> None:
        """Answers no SYN: to connect takes for ever. Connections that are there stay."""

        async def fill() -> None:
            await self._stop_listening()
            self._listener = _listening(self.address, backlog=0)
            # The backlog is full of connections of our own; the kernel drops the SYNs of all others.
            while True:
                filler = socket.socket()
                filler.setblocking(False)
                self._fillers.append(filler)
                try:
                    await asyncio.wait_for(self._loop.sock_connect(filler, split_address(self.address)), 0.2)
                except TimeoutError:
                    # A loop that stood still meanwhile finds the time over, though the connection is there.
                    if not _is_connected(filler):
                        return

        self._do(fill())

    def accept(self) -> None:
        """Accepts again after `refuse` or `ignore`."""

        async def listen() -> None:
            await self._stop_listening()
            self._listener = _listening(self.address, _BACKLOG)
            self._accepting = self._loop.create_task(self._accept(self._listener))

        self._do(listen())

    async def _stop_listening(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._accepting
            self._accepting = None
        for held in (*self._fillers, self._listener):
            if held is not None:
                held.close()
        self._fillers, self._listener = [], None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.accepted += 1
            relay = Relay(client, self.up, self.down, self._relays.discard)
            self._relays.add(relay)
            if not self._mute:
                relay.start(self._target)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    def close(self) -> None:
        """Resets what is still there and ends the thread."""

        async def end() -> None:
            await self._stop_listening()
            await asyncio.gather(*(relay.cut(Cut.RST) for relay in tuple(self._relays)))
            if rest := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(rest, timeout=_ANSWER_S / 2)

        try:
            self._do(end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.accept()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_connected(sock: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        sock.getpeername()
        return True
    return False


def _listening(address: str, backlog: int) -> socket.socket:
    listener = socket.create_server(split_address(address), backlog=backlog)
    listener.setblocking(False)
    return listener
