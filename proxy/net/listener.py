"""Listening sockets: bound before anything else starts, so that an address in use is a clear error.

Owns the sockets and the asyncio server. Has a protocol made for each connection and knows nothing of what that does.
Accepting can be paused: the socket goes on listening, and who comes waits in its backlog.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from proxy.net.liveness import keep_alive

BACKLOG = 4096


class Listener:
    """One address that clients connect to."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.name = name
        self._sock = sock
        self._bound: tuple[str, int] = sock.getsockname()[:2]
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Task[None] | None = None
        self._accepting = False
        self._closed = False
        self._make_protocol: Callable[[], asyncio.BaseProtocol]

    @classmethod
    def bind(cls, name: str, host: str, port: int) -> Listener:
        """Bind `host` (an IP address) and `port` (0: any). Raises OSError with the address in its text."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            keep_alive(sock)
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"listener {name}: cannot listen on {host}:{port}: {error.strerror}") from error
        return cls(name, sock)

    @property
    def port(self) -> int:
        """The port it listens on, also where port 0 let the system choose."""
        return self._bound[1]

    @property
    def address(self) -> str:
        """Where it listens, as "host:port"."""
        host, port = self._bound
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self, make_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept connections; each gets a protocol."""
        self._make_protocol = make_protocol
        self._accepting = True
        self._sock.listen(BACKLOG)
        await self._serve()

    def accept(self, wanted: bool) -> None:
        """Go on accepting, or pause. Not to be called while a connection is being accepted."""
        if self._closed or wanted == self._accepting:
            return
        self._accepting = wanted
        if wanted:
            self._starting = asyncio.get_running_loop().create_task(self._serve())
        elif self._server is not None:
            self._server.close()
            self._server = None

    def stop(self) -> None:
        """Accept no more; connections that are open stay."""
        self.accept(False)
        self._closed = True
        self._sock.close()

    async def _serve(self) -> None:
        # A server closes its socket with itself. It gets a duplicate: ours keeps the backlog.
        duplicate = self._sock.dup()
        server = await asyncio.get_running_loop().create_server(self._make_protocol, sock=duplicate, backlog=BACKLOG)
        if self._accepting and self._server is None:
            self._server = server
        else:
            server.close()  # paused again meanwhile


def has_ipv6() -> bool:
    """Whether the kernel runs with it."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True
