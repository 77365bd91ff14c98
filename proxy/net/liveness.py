"""Peers that are gone without a word (a node without power, a firewall that forgot) are found by the kernel.

TCP keepalive (RFC 9293, section 3.8.4) asks idle peers, on all connections: whoever's keepalive a proxy terminates
depends on the proxy's own. TCP_USER_TIMEOUT (RFC 5482; gRFC A18) limits how long sent bytes may stay unacknowledged, on
HTTP/2 connections to endpoints alone. Linux counts against it the time that a peer lives and does not read, too, and
over HTTP/1.x and TCP that is nothing but backpressure.
"""

from __future__ import annotations

import socket

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_MS = 30_000


def keep_alive(sock: socket.socket) -> None:
    """A peer that has been silent and does not answer probes is gone. Connections accepted on `sock` inherit it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def expect_acknowledgement(sock: socket.socket) -> None:
    """A peer that does not acknowledge what it was sent, or does not take it, is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
