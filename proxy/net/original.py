"""Where a connection was going before iptables redirected it to the proxy.

Owns the question to the kernel (SO_ORIGINAL_DST of netfilter's connection tracking) and nothing else: what to do
with the answer, or without one, is its caller's. Takes the sockets of asyncio and of uvloop.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import closing
from typing import Final

# linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h; the socket module has neither.
_SO_ORIGINAL_DST: Final = 80
_SOCKADDR_IN: Final = struct.Struct("!2xH4s8x")  # family, port, address
_SOCKADDR_IN6: Final = struct.Struct("!2xH4x16s4x")  # family, port, flow, address, scope
_MAPPED: Final = "::ffff:"

# The connection is not tracked; no module of the kernel knows the option.
_UNKNOWN: Final = frozenset({errno.ENOENT, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


def original_destination(sock: socket.socket) -> tuple[str, int] | None:
    """The address that the client of the accepted connection `sock` dialled, as (IP address, port).

    None if the kernel knows none. Of a connection that was not redirected it may also say the address it was accepted
    on: see `is_local`. The address of an IPv4 client is an IPv4 address, also on an IPv6 socket.
    """
    if ":" in _local_address(sock)[0]:
        family, level, form = socket.AF_INET6, socket.IPPROTO_IPV6, _SOCKADDR_IN6
    else:
        family, level, form = socket.AF_INET, socket.IPPROTO_IP, _SOCKADDR_IN
    try:
        port, address = form.unpack(sock.getsockopt(level, _SO_ORIGINAL_DST, form.size))
    except OSError as error:
        if error.errno in _UNKNOWN:
            return None
        raise
    return socket.inet_ntop(family, address), port


def is_local(destination: tuple[str, int], sock: socket.socket) -> bool:
    """Whether `destination` is the address that `sock` was accepted on: the client dialled the proxy itself."""
    return destination == _local_address(sock)


def _local_address(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    if host.startswith(_MAPPED) and "." in host:
        host = host.removeprefix(_MAPPED)
    return host, port


def is_ours(host: str) -> bool:
    """Whether an IP address belongs to this machine: then, and only then, a socket can be bound to it."""
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
