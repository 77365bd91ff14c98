"""A whole data plane in memory, as in harness.py, for what is no HTTP/2: HTTP/1.x and TCP, byte for byte.

Endpoints' connections are made for calls: `servers` has them in the order they were made. What the dialer is asked for
waits in `dials` while `modes` says "hold" for its endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from proxy.dataplane import Dial, Endpoint, Http1Downstream, Http1Upstream, Origin, Relay, RelayEnd
from proxy.discovery import EndpointAddress
from tests.wire.harness import Mesh
from tests.wire.loop import FakeTransport
from tests.wire.sockets import Socket, SocketLink


class PlainMesh(Mesh):
    """One proxy with one cluster of the protocol "http1" or "tcp"."""

    def __init__(
        self,
        endpoints: int | Sequence[EndpointAddress] = 1,
        protocol: str = "http1",
        *,
        serve: Callable[[Socket], None] | None = None,
        **settings: Any,
    ) -> None:
        self.sockets: list[Socket] = []  # of servers
        self.downstreams: list[Socket] = []
        self.on_bytes = serve
        super().__init__(endpoints, protocol=protocol, **settings)

    # ---- peers ----

    def connect(self) -> Socket:
        """A client of the HTTP/1.x listener."""
        return self._client(Http1Downstream(self.router, Origin("outbound")))

    def relay(self) -> Socket:
        """A client whose connection is passed through."""
        relay = Relay(self.router, Origin("outbound"))
        socket = self._client(relay.connection())
        relay.begin()
        return socket

    def accept(self, protocol: Any) -> Socket:
        """A client whose connection is handed to `protocol`."""
        return self._client(protocol)

    def _client(self, protocol: Any) -> Socket:
        socket = Socket()
        self.downstreams.append(socket)
        self._join(protocol, socket)
        return socket

    def _join(self, protocol: Any, socket: Socket) -> None:
        transport = FakeTransport(protocol, {})
        self.links.append(cast(Any, SocketLink(transport, socket)))
        protocol.connection_made(transport)

    def server(self, number: int = -1) -> Socket:
        """The connection to an endpoint that was made last, or the one with this number."""
        return self.sockets[number]

    def servers_at(self, number: int) -> list[Socket]:
        """Connections to endpoint `number`."""
        host = f"10.0.0.{number}"
        return [socket for socket in self.sockets if self.of_server[id(socket)].host == host]

    def transport(self, socket: Socket) -> FakeTransport:
        return self.link(cast(Any, socket)).transport

    # ---- dialling ----

    def _wanted(self, wanted: Any) -> None:
        endpoint = wanted if isinstance(wanted, Endpoint) else wanted.endpoint
        self.known[id(endpoint)] = endpoint
        self.dials.append(wanted)

    def dial_one(self) -> bool:
        for wanted in cast(list[Endpoint | Dial], list(self.dials)):
            dial = wanted if isinstance(wanted, Dial) else None
            endpoint = wanted.endpoint if isinstance(wanted, Dial) else wanted
            mode = self.modes.get(endpoint.address, "accept")
            if mode == "hold":
                continue
            self.dials.remove(cast(Any, wanted))
            if mode == "accept":
                if dial is not None or endpoint.missing:
                    self._made(endpoint, dial)
            elif dial is not None:
                dial.failed("connect: refused")
            else:
                endpoint.dial_failed("connect: refused")
            return True
        return False

    def _made(self, endpoint: Endpoint, dial: Dial | None) -> None:
        make = Http1Upstream if endpoint.cluster.protocol == "http1" else RelayEnd
        socket = Socket()
        socket.on_bytes = self.on_bytes
        self.sockets.append(socket)
        self.of_server[id(socket)] = endpoint
        self._join(make(endpoint, dial), socket)

    # ---- the end ----

    def ledger(self) -> None:
        """Everybody leaves. Then each call has ended once, no connection is left, and nothing faulted."""
        self.run()
        for link in self.links:
            link.transport.stalled = False
        for socket in self.downstreams:
            socket.reset()
        self.modes.clear()
        self.run()
        self.plane.turn(self.cluster.close)
        super().ledger()
        assert all(link.transport.lost for link in self.links), "a connection is left"
        assert not self.plane.downstream_connections
        assert all(e.connections == 0 for e in self.known.values())
