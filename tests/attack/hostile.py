"""A server that does to each connection what a test says, however wrong.

Owns the listening socket and a thread for each connection. A behaviour is a function that gets the `Connection` and
plays the server on it; when it returns the connection is closed. It ends early, without a fault, when the proxy closes
the connection, which is noted. What it sends and reads is bounded in time: nothing here outlives its test.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.attack import frames
from tests.attack.peer import FrameReader

READ_BYTES = 64 * 1024
PATIENCE_S = 30  # how long a behaviour waits for the proxy to do something
FOREVER_S = 600  # longer than all tests with one server take


class ConnectionClosedError(Exception):
    """The proxy closed the connection, or the server is stopping."""


class Connection:
    """One connection from the proxy, seen from the server."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self._socket = sock
        self._stopping = stopping
        self._reader = FrameReader()
        self._preface_left = len(frames.PREFACE)
        self._requests: list[int] = []
        sock.setblocking(False)

    def greet(self, *entries: tuple[int, int]) -> None:
        """The server's half of the preface."""
        self.send(frames.settings(*entries))

    def request(self) -> int:
        """Waits for the next request; returns its stream id."""
        while not self._requests:
            self._turn(b"")
        return self._requests.pop(0)

    def send(self, sent: bytes) -> None:
        """Sends all of it, reading what comes meanwhile."""
        view = memoryview(sent)
        deadline_s = time.monotonic() + PATIENCE_S
        while view:
            view = view[self._turn(view) :]
            if time.monotonic() > deadline_s:
                raise ConnectionClosedError("the proxy reads no more")

    def wait_until_closed(self, timeout_s: float = PATIENCE_S) -> None:
        """Reads until the proxy closes the connection (which ends the behaviour), or until time is up."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self._turn(b"")

    def _turn(self, view: memoryview | bytes) -> int:
        """Reads what is there, writes what can be written; returns the number of bytes written."""
        if self._stopping.is_set():
            raise ConnectionClosedError
        readable, writable, _ = select.select([self._socket], [self._socket] if view else [], [], 0.05)
        try:
            if readable:
                self._read(self._socket.recv(READ_BYTES))
            return self._socket.send(view) if writable else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise ConnectionClosedError from error

    def _read(self, received: bytes) -> None:
        if not received:
            raise ConnectionClosedError
        skipped = min(self._preface_left, len(received))
        self._preface_left -= skipped
        for kind, flags, stream, _ in self._reader.feed(received[skipped:]):
            if kind == frames.HEADERS and flags & frames.END_HEADERS:
                self._requests.append(stream)


class HostileServer:
    """Listens on loopback and does `behaviour` to each connection.

    `connections` counts those accepted, `closed` those the proxy closed before the behaviour was over.
    """

    def __init__(self, behaviour: Callable[[Connection], None]) -> None:
        self.connections = 0
        self.closed = 0
        self.faults: list[Exception] = []  # of the behaviour itself: the test's own mistakes
        self._behaviour = behaviour
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._behaviour(Connection(sock, self._stopping))
        except ConnectionClosedError:
            with self._lock:
                self.closed += not self._stopping.is_set()
        except Exception as error:
            self.faults.append(error)
        finally:
            # An abortive close leaves no port in TIME_WAIT; what was sent is read by the proxy first on loopback.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(0.02)
                sock.recv(READ_BYTES)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._accepting.join()
        self._listening.close()
        for thread in self._threads:
            thread.join()
        if error is None:
            assert self.faults == []
