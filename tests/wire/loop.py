"""Time and sockets of the wire tests: a clock that moves only when told, and a transport that is a byte array.

Knows nothing of HTTP/2. What asyncio promises a protocol holds here too: no callback runs inside `write` or `close`
except `pause_writing`, and `connection_lost` comes once, later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    """What `call_later` returns."""

    def __init__(self, when: float, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.when = when
        self.callback = callback
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """An event loop's clock and timers, and nothing else. Seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.timers: list[Timer] = []

    def clock(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[..., object], *arguments: object) -> Timer:
        timer = Timer(self.now_s + delay_s, callback, arguments)
        self.timers.append(timer)
        return timer

    def call_soon(self, callback: Callable[..., object], *arguments: object) -> Timer:
        return self.call_later(0, callback, *arguments)

    def due_before(self, end_s: float) -> Timer | None:
        """Take the earliest timer at or before `end_s`, if there is one."""
        self.timers = [timer for timer in self.timers if not timer.cancelled]
        due = [timer for timer in self.timers if timer.when <= end_s]
        if not due:
            return None
        first = min(due, key=lambda timer: timer.when)
        self.timers.remove(first)
        return first


class FakeTransport:
    """A transport whose socket takes everything at once, or nothing while `stalled`."""

    def __init__(self, protocol: Any, addresses: dict[str, object]) -> None:
        self.protocol = protocol
        self.addresses = addresses
        self.outgoing = bytearray()  # the socket took it
        self.held = bytearray()  # the socket did not
        self.stalled = False
        self.paused = False
        self.reading = True
        self.aborted = False
        self.closing = False
        self.ended = False  # we have sent FIN
        self.lost = False

    # ---- what a protocol may call ----

    def write(self, data: bytes) -> None:
        assert not self.lost, "written to after connection_lost"
        assert not self.ended, "written to after its end was"
        if self.closing:
            return
        if not self.stalled:
            self.outgoing += data
            return
        self.held += data
        if not self.paused:
            self.paused = True
            self.protocol.pause_writing()

    def close(self) -> None:
        self.closing = True

    def write_eof(self) -> None:
        assert not self.closing and not self.ended
        self.ended = True

    def pause_reading(self) -> None:
        assert self.reading and not self.closing
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading and not self.closing
        self.reading = True

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.held.clear()
        self.stalled = False

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None)

    def get_extra_info(self, name: str) -> object:
        return self.addresses.get(name)

    # ---- what the other end does ----

    def feed(self, data: bytes) -> bytes:
        """Bytes arrive. Returns those that are not read, for the protocol has paused reading."""
        view = memoryview(data)
        while view and self.reading and not self.closing:
            buffer = self.protocol.get_buffer(-1)
            n = min(len(buffer), len(view))
            buffer[:n] = view[:n]
            self.protocol.buffer_updated(n)
            view = view[n:]
        return bytes(view)

    def fail(self) -> None:
        """A write failed: the transport has closed itself, and will say so later."""
        self.closing = self.aborted = True
        self.held.clear()

    def take(self, most: int | None = None) -> bytes:
        """What the proxy has sent since; the socket has room again for what it had not taken."""
        if not self.stalled and self.held:
            self.outgoing += self.held
            self.held.clear()
        if not self.stalled and self.paused and not self.lost:
            self.paused = False
            self.protocol.resume_writing()
        n = len(self.outgoing) if most is None else most
        data = bytes(self.outgoing[:n])
        del self.outgoing[:n]
        return data

    def eof(self) -> None:
        """The peer sends no more."""
        if not self.closing and not self.protocol.eof_received():
            self.closing = True

    def end(self, eof: bool = False, error: Exception | None = None) -> None:
        """The connection is gone, for both; `eof`: the peer closed its side first."""
        if self.lost:
            return
        if eof and not self.closing:
            self.protocol.eof_received()
        self.lost = self.closing = True
        self.protocol.connection_lost(error)
