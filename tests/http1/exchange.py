"""One exchange: bytes to a proxy, and all that comes of it on both of its sides.

A `Lane` is a listening proxy with a recorder of its own behind it. `Lane.exchange` plays the client and the backend in
one loop of `select`, so "nothing moves any more" is one fact and not a guess about two threads. After each exchange the
backend's connections are closed from our side and the proxy's own close is awaited: the next one starts clean.
"""

import contextlib
import queue
import re
import select
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from tests.http1.recorder import Recorder
from tests.support.ports import split_address

K = TypeVar("K")

QUIET_S = 0.05
PATIENCE_S = 15.0
BREAKING_OFF_S = 5.0
_READ_BYTES = 256 * 1024
_STATUS = re.compile(rb"^HTTP/1\.[01] ([2-9][0-9][0-9])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the backend got on one connection; `ended`: the proxy closed it before the exchange was over."""

    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """What became of an entry. `statuses` are the final ones (no 1xx) that the client was answered with."""

    statuses: tuple[int, ...]
    closed: bool
    forwarded: tuple[Forwarded, ...]
    received: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What to send, and when to stop waiting.

    It is over when the proxy has closed the connection, when `answers` came and then nothing moved for QUIET_S, or when
    nothing moved for `patience_s`. `piece_bytes`: at most so many in one write.
    """

    sent: bytes
    answers: int = 1
    patience_s: float = PATIENCE_S
    piece_bytes: int = 2**16


class Lane:
    """The proxy that listens on `address` forwards to `recorder`."""

    def __init__(self, address: str, recorder: Recorder) -> None:
        self.address = address
        self.recorder = recorder

    def exchange(self, message: Message) -> Exchange:
        client = _Client(self.address, message)
        with contextlib.closing(client.socket):
            while self._turn(client, message.patience_s if client.statuses_missing() else QUIET_S):
                if client.closed:
                    break
            # What was forwarded before a close is in our sockets already, or nearly; a request that is not whole is
            # about to be broken off.
            while client.closed and self._turn(client, BREAKING_OFF_S if self.recorder.mid_request else QUIET_S / 4):
                pass
            connections = [connection for connection in self.recorder.connections if connection.received]
            forwarded = tuple(Forwarded(bytes(each.received), each.ended) for each in connections)
            exchange = Exchange(client.statuses(), client.closed, forwarded, bytes(client.received))
        self._clear()
        return exchange

    def _turn(self, client: "_Client", timeout_s: float) -> bool:
        """Waits for something to happen and does what is due; False when nothing did."""
        reads = [*self.recorder.sockets(), *([] if client.closed else [client.socket])]
        readable, writable, _ = select.select(reads, [client.socket] if client.wants_to_send else [], [], timeout_s)
        self.recorder.ready(readable)
        if client.socket in readable:
            client.receive()
        if client.socket in writable:
            client.send()
        return bool(readable or writable)

    def _clear(self) -> None:
        """No connection that has carried bytes is left over for the next exchange."""
        deadline_s = time.monotonic() + PATIENCE_S
        told: set[int] = set()
        while used := [each for each in self.recorder.connections if each.received and not each.ended]:
            for connection in used:
                if id(connection) not in told:
                    connection.half_close()
                    told.add(id(connection))
            readable, _, _ = select.select(self.recorder.sockets(), [], [], 0.5)
            self.recorder.ready(readable)
            if time.monotonic() > deadline_s:
                for connection in used:
                    connection.ended = True
        self.recorder.forget_ended()


class _Client:
    """The sending side: a socket, what is still to be sent, what came back."""

    def __init__(self, address: str, message: Message) -> None:
        self.socket = socket.create_connection(split_address(address), timeout=PATIENCE_S)
        # Bytes that are sent one at a time are to arrive like that.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = bytearray()
        self.closed = False
        self._message = message
        self._unsent = memoryview(message.sent)

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent) and not self.closed

    def send(self) -> None:
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent[: self._message.piece_bytes]) :]
        except BlockingIOError:
            return
        except OSError:
            # The proxy reads no more; what it said before is still there to be read.
            self._unsent = memoryview(b"")

    def receive(self) -> None:
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        self.closed = not data

    def statuses(self) -> tuple[int, ...]:
        return tuple(int(status) for status in _STATUS.findall(self.received))

    def statuses_missing(self) -> bool:
        return bool(self._unsent) or len(self.statuses()) < self._message.answers


def exchange_all(lanes: Sequence[Lane], messages: Mapping[K, Message]) -> dict[K, Exchange]:
    """One exchange for each message, as many at a time as there are lanes."""
    free: queue.Queue[Lane] = queue.Queue()
    for lane in lanes:
        free.put(lane)

    def exchange(message: Message) -> Exchange:
        lane = free.get()
        try:
            return lane.exchange(message)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return dict(zip(messages, pool.map(exchange, messages.values()), strict=True))
