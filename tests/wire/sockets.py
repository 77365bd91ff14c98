"""The far ends of the HTTP/1.x and TCP tests: sockets that a test reads and writes byte for byte.

A Socket sees what a real one does: bytes, then either FIN (`ended`) or RST (`broken`). Each of its own two directions
ends by itself; `leave` is what a process does that closes its socket, `reset` what one does that dies.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.wire.loop import FakeTransport


class Socket:
    """One end of a connection. `on_bytes`, when set, is called with it whenever bytes have come."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.unsent = bytearray()
        self.ended = False  # the proxy's FIN is here
        self.broken = False  # the proxy's RST is here
        self.finishing = False  # FIN follows what is unsent
        self.finished = False
        self.left = False  # nothing is read any more
        self.resetting = False
        self.on_bytes: Callable[[Socket], None] | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.broken

    def send(self, data: bytes) -> None:
        self.unsent += data

    def finish(self) -> None:
        """Send FIN, and go on reading."""
        self.finishing = True

    def leave(self) -> None:
        """Close the socket: FIN, and RST for what still comes."""
        self.finishing = self.left = True

    def reset(self) -> None:
        self.unsent.clear()
        self.resetting = True

    def take(self) -> bytes:
        """What has been received since this was last asked."""
        data = bytes(self.received)
        self.received.clear()
        return data


class SocketLink:
    """A connection: the proxy's transport and the socket at its other end."""

    def __init__(self, transport: FakeTransport, socket: Socket) -> None:
        self.transport = transport
        self.peer = socket

    def from_proxy(self, most: int | None = None) -> bool:
        """Carry bytes to the socket, and their end once all have arrived."""
        transport, peer = self.transport, self.peer
        data = transport.take(most)
        if data:
            if peer.left:
                peer.resetting = True
                return True
            peer.received += data
            if peer.on_bytes is not None:
                peer.on_bytes(peer)
            return True
        waiting = transport.held or transport.outgoing
        if transport.closing and not waiting and not transport.lost:
            peer.broken = peer.broken or transport.aborted
            peer.ended = not peer.broken
            transport.end()
            return True
        if transport.ended and not waiting and not peer.over:
            peer.ended = True
            return True
        return False

    def to_proxy(self, most: int | None = None) -> bool:
        """Carry what the socket sends, then its end. A proxy that does not read sees neither, but for a reset."""
        transport, peer = self.transport, self.peer
        if transport.lost or transport.closing:
            return False
        if peer.resetting:
            transport.end(error=ConnectionResetError("Connection reset by peer"))
            return True
        if not transport.reading or peer.finished:
            return False
        if peer.unsent:
            data = bytes(peer.unsent[:most])
            del peer.unsent[:most]
            peer.unsent[:0] = transport.feed(data)
            return True
        if peer.finishing:
            peer.finished = True
            transport.eof()
            return True
        return False
