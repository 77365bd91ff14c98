"""Listening sockets: bound before anything else starts, so that an address in use is a clear error.

Owns the sockets and the asyncio server. Has a protocol made for each connection and knows nothing of what that does.
When descriptors run out (EMFILE) libuv accepts and closes what waits, so that the event loop does not spin; running
calls are untouched.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

BACKLOG = 4096


class Listener:
    """One address that clients connect to."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.name = name
        self._sock = sock
        self._server: asyncio.Server | None = None

    @classmethod
    def bind(cls, name: str, host: str, port: int) -> Listener:
        """Bind `host` (an IP address) and `port` (0: any). Raises OSError with the address in its text."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"listener {name}: cannot listen on {host}:{port}: {error.strerror}") from error
        return cls(name, sock)

    @property
    def port(self) -> int:
        """The port it listens on, also where port 0 let the system choose."""
        return int(self._sock.getsockname()[1])

    @property
    def address(self) -> str:
        """Where it listens, as "host:port"."""
        host, port = self._sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self, make_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept connections; each gets a protocol."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(make_protocol, sock=self._sock, backlog=BACKLOG)

    def stop(self) -> None:
        """Accept no more; connections that are open stay."""
        if self._server is not None:
            self._server.close()
        else:
            self._sock.close()
