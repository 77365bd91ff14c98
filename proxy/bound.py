"""Listening sockets of servers that people and programs ask, as opposed to the listeners of calls.

"[::]" is every address of both families: an event loop would take it for IPv6 alone, and a node without IPv6 has only
the other. Owns nothing after it has handed out the socket.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Final

from proxy.address import SocketAddress

_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bound(address: SocketAddress) -> socket.socket:
    """A TCP socket bound to `address`, not yet listening. Raises OSError."""
    try:
        return _bound(address)
    except OSError as error:
        if address.host == "::" and error.errno in _NO_IPV6:
            return _bound(SocketAddress("0.0.0.0", address.port))
        raise


def place(of: socket.socket) -> SocketAddress:
    """Where it is bound, with the port that port 0 became."""
    host, port, *_ = of.getsockname()
    return SocketAddress(host, port)


def _bound(address: SocketAddress) -> socket.socket:
    is_v6 = ":" in address.host
    made = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            with suppress(OSError):
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((address.host, address.port))
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return made
