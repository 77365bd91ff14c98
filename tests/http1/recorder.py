"""The backend behind every proxy here: it keeps each byte that it is sent, and answers what it can delimit.

It reads with `tests.http1.strict`, and answers each whole request with a 200; what is not to the letter stays
unanswered. Owns plain sockets and no thread: whoever drives an exchange calls `ready` for the sockets that have
something to read.
"""

import contextlib
import socket
from dataclasses import dataclass, field

from tests.http1 import strict
from tests.http1.strict import Request
from tests.support.ports import free_address, split_address

_READ_BYTES = 256 * 1024
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"


@dataclass
class Connection:
    """One connection that a proxy made. `received` has all its bytes; `ended`: the proxy closed or reset it."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    ended: bool = False
    _read: int = 0  # where the first request begins that is not answered yet
    _told_to_continue: bool = False
    _tunnel: bool = False

    @property
    def mid_request(self) -> bool:
        """Whether the proxy still owes a part of what it began."""
        return not self.ended and not self._tunnel and len(self.received) > self._read

    def on_readable(self) -> None:
        try:
            data = self.socket.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        self.received += data
        if not self._tunnel:
            self._answer()

    def _answer(self) -> None:
        reading = strict.read(bytes(self.received[self._read :]))
        for request in reading.requests:
            self._told_to_continue = False
            self._send(_response(request))
        self._read = len(self.received) - len(reading.rest)
        self._tunnel = reading.tunnel
        if not self._told_to_continue and _expects_continue(reading.rest):
            self._told_to_continue = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if reading.requests and reading.requests[-1].last and not reading.tunnel:
            self.half_close()

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)


class Recorder:
    """Listens on `address`. `connections` are those with or without bytes since the last `forget`."""

    def __init__(self) -> None:
        self.address = free_address()
        self.connections: list[Connection] = []
        self._listener = socket.create_server(split_address(self.address))
        self._listener.setblocking(False)

    def sockets(self) -> list[socket.socket]:
        """Those worth waiting for."""
        return [self._listener, *(connection.socket for connection in self.connections if not connection.ended)]

    @property
    def mid_request(self) -> bool:
        return any(connection.mid_request for connection in self.connections)

    def ready(self, readable: list[socket.socket]) -> None:
        """Takes what came in on those sockets; others are ignored."""
        if self._listener in readable:
            with contextlib.suppress(BlockingIOError):
                accepted, _ = self._listener.accept()
                accepted.settimeout(5)
                self.connections.append(Connection(accepted))
        for connection in self.connections:
            if connection.socket in readable:
                connection.on_readable()

    def forget_ended(self) -> None:
        for connection in self.connections:
            if connection.ended:
                connection.socket.close()
        self.connections = [connection for connection in self.connections if not connection.ended]

    def close(self) -> None:
        for connection in self.connections:
            connection.socket.close()
        self._listener.close()


def _response(request: Request) -> bytes:
    if request.method == b"CONNECT":
        return b"HTTP/1.1 200 Connected\r\n\r\n"
    body = b"" if request.method == b"HEAD" else b"ok\n"
    return _OK + (b"Connection: close\r\n" if request.last else b"") + b"\r\n" + body


def _expects_continue(rest: bytes) -> bool:
    head, end, _ = rest.partition(b"\r\n\r\n")
    return bool(end) and b"\r\nexpect: 100-continue" in head.lower()
