"""What happens to a connection between being accepted and being handed to the data plane.

An `Intake` belongs to one listener. It finds out where the connection was going, closes what would come back to the
proxy itself, and has the protocol found out where that is not known (semantics: 10 and 13). It counts what it found.
`Looking` is one connection while that lasts. Knows nothing of what the sessions do with their bytes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, cast

from proxy.address import SocketAddress
from proxy.config import ListenerConfig
from proxy.dataplane import DownstreamSession, Http1Downstream, Origin, Relay, Router
from proxy.net.detection import Kind, detect, server_name
from proxy.net.gate import Gate
from proxy.net.original import is_local, is_ours, original_destination

log = logging.getLogger(__name__)

QUIET_S = 0.2  # after this long without a byte, the server may be the one that speaks first
INBOUND_QUIET_S = 0.05  # most connections into a pod come from a sidecar, which has waited already; both waits add up
READ_BYTES = 16 * 1024

Opaque = Callable[[str, str], bool]


class Intake:
    """One listener's. `opaque(listener, destination)` says whether the routes want no look into a connection."""

    def __init__(
        self,
        config: ListenerConfig,
        router: Router,
        opaque: Opaque,
        *,
        detect_timeout_s: float,
        own_ports: Callable[[], Collection[int]],
        gate: Gate,
    ) -> None:
        self.config = config
        self.router = router
        self.detect_timeout_s = detect_timeout_s
        self.quiet_s = INBOUND_QUIET_S if config.intercept == "inbound" else QUIET_S
        self.found: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.timeouts = 0
        self.looking: set[Looking] = set()
        self.draining = False  # connections that come now are late arrivals
        self.gate = gate
        self.buffer = bytearray(READ_BYTES)
        self._opaque = opaque
        self._own_ports = own_ports
        self._origin = Origin(config.name)

    def protocol(self) -> asyncio.BaseProtocol:
        """For a connection that was just accepted."""
        self.gate.enter()
        if self.config.intercept is None and self.config.protocol == "http2":
            return DownstreamSession(self.router, self._origin)
        if self.config.intercept is None and self.config.protocol == "http1":
            return self.http1(self._origin)
        return Looking(self)

    def http1(self, origin: Origin) -> Http1Downstream:
        """Every response to a late arrival says that it is the last."""
        session = Http1Downstream(self.router, origin)
        if self.draining:
            session.drain()
        return session

    def origin(self, sock: socket.socket) -> Origin | None:
        """Where it was going; None: it must be closed."""
        if self.config.intercept is None:
            return self._origin
        destination = original_destination(sock)
        if destination is None or is_local(destination, sock):
            self._refuse("direct", destination)
            return None
        if destination[1] in self._own_ports() and is_ours(destination[0]):
            self._refuse("loop", destination)
            return None
        return Origin(self.config.name, str(SocketAddress(*destination)))

    def _refuse(self, reason: str, destination: tuple[str, int] | None) -> None:
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            log.warning("listener %s: a connection to %s closed: %s", self.config.name, destination, reason)

    def known(self, origin: Origin) -> Kind | None:
        """The protocol, where it takes no look to know it."""
        if self.config.protocol != "detect":
            return Kind(self.config.protocol)
        port = origin.destination.rpartition(":")[2]
        if port and self.config.is_opaque(int(port)):
            return Kind.TCP
        return Kind.TCP if self._opaque(origin.listener, origin.destination) else None


class Looking(asyncio.BufferedProtocol):
    """A connection whose first bytes are being waited for."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._data = bytearray()
        self._relay: Relay | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._origin: Origin | None = None

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        intake = self._intake
        self._transport = cast(asyncio.Transport, transport)
        self._origin = intake.origin(transport.get_extra_info("socket"))
        if self._origin is None:
            self._transport.abort()
            return
        kind = intake.known(self._origin)
        if kind is not None:
            self._hand_over(kind)
            return
        intake.looking.add(self)
        self._timer = asyncio.get_running_loop().call_later(intake.quiet_s, self._quiet)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return self._intake.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._data += memoryview(self._intake.buffer)[:nbytes]
        kind = detect(self._data)
        if kind is Kind.TLS:
            complete, name = server_name(self._data)
            if complete:
                self._hand_over(kind, name)
        elif kind is not None:
            self._hand_over(kind)

    def eof_received(self) -> bool:
        """No more will come: what is here is passed on as it is. Nothing at all is a port scan or a probe."""
        if not self._data:
            return False
        end = cast(asyncio.BufferedProtocol, self._hand_over(Kind.TCP))
        return bool(end.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._intake.gate.leave()
        if self in self._intake.looking:
            self._settled("none")
            if self._relay is not None:
                self._relay.abandon()

    def close(self) -> None:
        """The proxy stops."""
        if self._transport is not None:
            self._transport.abort()

    # ---- silence ----

    def _quiet(self) -> None:
        """Perhaps the server speaks first: connect to it, and see."""
        left_s = max(self._intake.detect_timeout_s - self._intake.quiet_s, 0)
        self._timer = asyncio.get_running_loop().call_later(left_s, self._timed_out)
        if not self._data:
            assert self._origin is not None
            self._relay = Relay(self._intake.router, self._origin)
            self._relay.begin(self._server_spoke)

    def _server_spoke(self) -> None:
        if self in self._intake.looking:
            self._hand_over(Kind.TCP)

    def _timed_out(self) -> None:
        self._intake.timeouts += 1
        self._hand_over(Kind.TCP)

    # ---- the end of looking ----

    def _settled(self, found: str) -> None:
        self._intake.found[found] += 1
        self._intake.looking.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _hand_over(self, kind: Kind, name: str = "") -> asyncio.BaseProtocol:
        """Give the transport, and what was read, to what speaks the protocol."""
        intake, transport, origin = self._intake, self._transport, self._origin
        assert transport is not None and origin is not None
        self._settled(kind)
        taker: Any
        if kind is Kind.HTTP2:
            taker = DownstreamSession(intake.router, origin)
        elif kind is Kind.HTTP1:
            taker = intake.http1(origin)
        else:
            relay = self._relay if self._relay is not None and not name else Relay(intake.router, origin, name)
            taker = relay.connection()
        if self._relay is not None and (name or kind in (Kind.HTTP2, Kind.HTTP1)):
            self._relay.abandon()
            self._relay = None
        transport.set_protocol(taker)
        taker.connection_made(transport)
        if kind in (Kind.TCP, Kind.TLS) and self._relay is None:
            relay.begin()
        if self._data:
            taker.take(bytes(self._data))
        return cast(asyncio.BaseProtocol, taker)
