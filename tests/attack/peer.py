"""A client that sends any bytes it likes and watches what the proxy does about it.

Owns one socket. It reads while it writes, so that neither side waits for the other, and keeps what it was told: GOAWAY,
resets, and whether the proxy closed the connection. It never answers anything (no SETTINGS ACK, no window): what is
sent is what the test says.
"""

import contextlib
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from tests.attack import frames
from tests.support.ports import split_address
from tests.support.waiting import PATIENCE_S

READ_BYTES = 256 * 1024


class FrameReader:
    """Splits a byte stream into (type, flags, stream, payload)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterable[tuple[int, int, int, bytes]]:
        self._buffer += received
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3])
            if len(self._buffer) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self._buffer[3:9])
            payload = bytes(self._buffer[9 : 9 + length])
            del self._buffer[: 9 + length]
            yield kind, flags, stream & 0x7FFFFFFF, payload


class Attacker:
    """A connection to "host:port". With `preface` (the default) it begins as a client should."""

    def __init__(self, address: str, preface: bytes = frames.client_preface()) -> None:
        self.goaways: list[int] = []  # error codes, in order
        self.resets: Counter[int] = Counter()  # by error code
        self.frames: Counter[int] = Counter()  # by type
        self.ended: set[int] = set()  # streams whose END_STREAM has come
        self.cut = False  # the proxy closed the connection
        self._reader = FrameReader()
        self._socket = socket.create_connection(split_address(address), timeout=PATIENCE_S)
        # Bytes must arrive as they are sent: slow peers send them one at a time.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self.send(preface)

    def send(self, sent: bytes, timeout_s: float = PATIENCE_S, read: bool = True) -> None:
        """Sends all of it, or as much as the proxy takes before it cuts; AssertionError when it takes no more.

        Without `read` nothing is read meanwhile, as by a client that does not care for answers.
        """
        deadline_s = time.monotonic() + timeout_s
        view = memoryview(sent)
        while view and not self.cut:
            remaining_s = deadline_s - time.monotonic()
            assert remaining_s > 0, f"the proxy neither reads nor cuts ({len(view)} bytes left)"
            readable, writable, _ = select.select([self._socket] * read, [self._socket], [], remaining_s)
            if readable:
                self._read()
            if writable and not self.cut:
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self._drain()

    def flood(self, batches: Iterable[bytes], timeout_s: float = 2 * PATIENCE_S) -> int:
        """Sends batch after batch until the proxy cuts; the number sent. AssertionError when it never does."""
        sent = 0
        deadline_s = time.monotonic() + timeout_s
        for batch in batches:
            self.send(batch, timeout_s)
            if self.cut:
                return sent
            sent += 1
            assert time.monotonic() < deadline_s, f"not cut after {timeout_s:g} s and {sent} batches"
        self.wait_until_cut(max(deadline_s - time.monotonic(), 1))
        return sent

    def read_for(self, duration_s: float) -> None:
        """Reads what comes in the next seconds, or until the connection is cut."""
        deadline_s = time.monotonic() + duration_s
        while not self.cut and (remaining_s := deadline_s - time.monotonic()) > 0:
            if select.select([self._socket], [], [], remaining_s)[0]:
                self._read()

    def wait_until_cut(self, timeout_s: float = PATIENCE_S) -> None:
        """Returns when the proxy has closed the connection; AssertionError when it has not in time."""
        self.read_for(timeout_s)
        assert self.cut, f"the proxy did not close the connection within {timeout_s:g} s; got {self.frames}"

    def read_until(self, condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        """Reads what comes until it is so, the connection is cut, or time is up."""
        deadline_s = time.monotonic() + timeout_s
        while not condition() and not self.cut and time.monotonic() < deadline_s:
            self.read_for(0.01)

    def wait_for(self, stream: int, timeout_s: float = PATIENCE_S) -> bool:
        """Whether the proxy ended the stream (END_STREAM) in time."""
        self.read_until(lambda: stream in self.ended, timeout_s)
        return stream in self.ended

    def close(self) -> None:
        # An abortive close: no port is left in TIME_WAIT, however many attackers there were.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _drain(self) -> None:
        """The connection broke: whatever the proxy had said before is still there to read."""
        while not self.cut:
            self._read()

    def _read(self) -> None:
        try:
            received = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self.cut = not received
        for kind, flags, stream, payload in self._reader.feed(received):
            self.frames[kind] += 1
            if kind == frames.GOAWAY:
                self.goaways.append(int.from_bytes(payload[4:8]))
            elif kind == frames.RST_STREAM:
                self.resets[int.from_bytes(payload)] += 1
            elif kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
                self.ended.add(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
