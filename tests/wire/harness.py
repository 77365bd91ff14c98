"""A whole data plane in memory: real sessions, calls and clusters between scripted peers, on a fake clock.

`Mesh` plays the listener, the dialer and the event loop. Nothing moves until `run` (bytes) or `advance` (time), so
a test decides the order of events. `ledger` is what every test ends with: each call that began has ended once.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from proxy.dataplane import Cluster, DataPlane, DownstreamSession, Endpoint, Limits, Origin, Router, UpstreamSession
from proxy.discovery import EndpointAddress
from tests.wire.loop import FakeLoop, FakeTransport
from tests.wire.peers import Client, Peer, Server, echo

Outcome = tuple[str, int, int, str]  # classification, :status, grpc-status or -1, flag


class Link:
    """A connection: the proxy's transport and the peer at its other end."""

    def __init__(self, transport: FakeTransport, peer: Peer) -> None:
        self.transport = transport
        self.peer = peer

    def from_proxy(self, most: int | None = None) -> bool:
        """Carry bytes to the peer, and the end of the connection once all have arrived."""
        data = self.transport.take(most)
        if data:
            self.peer.receive(data)
            return True
        over = self.transport.closing or self.transport.ended
        if over and not self.transport.held and not self.transport.lost:
            self.transport.end(eof=self.transport.ended)  # a peer that has read FIN closes
            self.peer.closed = True
            return True
        return False

    def to_proxy(self) -> bool:
        """Carry what the peer wants to send, then its end."""
        data = self.peer.take()
        if data and not self.transport.closing:
            self.transport.feed(data)
            return True
        if self.peer.leaving and not self.transport.lost:
            self.transport.end(eof=True)
            return True
        return False


def address(number: int, weight: int = 1, uid: str = "") -> EndpointAddress:
    """Endpoint `number` of the tests, 10.0.0.number:50051."""
    return EndpointAddress(str(ipaddress.IPv4Address("10.0.0.0") + number), 50051, weight, f"pod-{number}", uid)


class Mesh:
    """One proxy with one cluster, its clients and its endpoints."""

    def __init__(
        self,
        endpoints: int | Sequence[EndpointAddress] = 1,
        *,
        limits: Limits | None = None,
        timeout_s: float | None = None,
        server_settings: dict[int, int] | None = None,
        serve: Callable[[Server, int], None] | None = None,
        **cluster: Any,
    ) -> None:
        self.loop = FakeLoop()
        self.plane = DataPlane(self.loop, limits=limits, clock=self.loop.clock, seed=1)
        self.plane.on_dial = self._wanted
        self.links: list[Link] = []
        self.servers: list[Server] = []
        self.clients: list[Client] = []
        self.known: dict[int, Endpoint] = {}  # every Endpoint that ever was
        self.of_server: dict[int, Endpoint] = {}
        self.dials: list[Endpoint] = []  # not carried out yet
        self.modes: dict[str, str] = {}  # endpoint address -> "accept" (default), "refuse", "hold"
        self.server_settings = server_settings
        self.serve = serve
        self.cluster = Cluster(self.plane, "echo", **({"balancer": "round_robin"} | cluster))
        self.router = Router(
            self.plane,
            lambda _listener, _destination, authority, *_: (
                None if authority == "nowhere" else ([(self.cluster, 1)], timeout_s)
            ),
        )
        addresses = [address(n + 1) for n in range(endpoints)] if isinstance(endpoints, int) else endpoints
        if addresses:
            self.plane.turn(self.cluster.reset, addresses)
        self.run()

    # ---- peers ----

    def client(self, settings: dict[int, int] | None = None, **addresses: object) -> Client:
        """A connection from a client to the proxy's listener, its preface exchanged."""
        client = Client(settings)
        self.clients.append(client)
        self._connect(DownstreamSession(self.router, Origin("outbound")), client, addresses)
        self.run()
        return client

    def _connect(self, session: Any, peer: Peer, addresses: dict[str, object]) -> None:
        transport = FakeTransport(session, addresses)
        self.links.append(Link(transport, peer))
        session.connection_made(transport)

    def link(self, peer: Peer) -> Link:
        return next(link for link in self.links if link.peer is peer)

    def session(self, peer: Peer) -> Any:
        """The proxy's session that talks to this peer."""
        return self.link(peer).transport.protocol

    def servers_of(self, number: int, uid: str = "") -> list[Server]:
        """Connections to endpoint `number`, in the order they were made."""
        key = (address(number).host, uid)
        return [
            server
            for server in self.servers
            if (self.of_server[id(server)].host, self.of_server[id(server)].uid) == key
        ]

    def endpoint(self, number: int) -> Endpoint:
        return next(e for e in self.cluster.endpoints if e.host == address(number).host)

    # ---- dialling ----

    def _wanted(self, endpoint: Endpoint) -> None:
        self.known[id(endpoint)] = endpoint
        self.dials.append(endpoint)

    def redial(self) -> None:
        """What the dialer does after its backoff: try again wherever a connection is missing."""
        self.dials.extend(e for e in self.cluster.endpoints if e.missing and e not in self.dials)
        self.run()

    def dial_one(self) -> bool:
        """Carry out the dial that has waited longest and is not on hold."""
        for endpoint in list(self.dials):
            mode = self.modes.get(endpoint.address, "accept")
            if mode == "hold":
                continue
            self.dials.remove(endpoint)
            if mode == "refuse":
                self.plane.turn(endpoint.dial_failed, "connect: refused")
            elif endpoint.missing:
                self._dial(endpoint)
            return True
        return False

    def _dial(self, endpoint: Endpoint) -> None:
        def on_ready(_session: UpstreamSession, _error: str | None) -> None:
            endpoint.connecting -= 1

        server = Server(self.server_settings)
        server.on_request = self.serve
        self.servers.append(server)
        self.of_server[id(server)] = endpoint
        endpoint.connecting += 1
        self._connect(UpstreamSession(self.plane, endpoint, on_ready), server, {})

    # ---- bytes and time ----

    def run(self) -> None:
        """Carry bytes and make connections until nothing moves."""
        for _ in range(100_000):
            moved = self.dial_one()
            for link in list(self.links):
                moved = link.from_proxy() or moved
                moved = link.to_proxy() or moved
            if not moved:
                return
        raise AssertionError("the peers never fall silent")

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due happens at its time, and its bytes travel at once."""
        self.run()
        end_s = self.loop.now_s + seconds
        while (timer := self.loop.due_before(end_s)) is not None:
            self.loop.now_s = max(timer.when, self.loop.now_s)
            timer.callback(*timer.arguments)
            self.run()
        self.loop.now_s = end_s
        self.run()

    def update(self, method: str, *addresses: EndpointAddress) -> None:
        """What a resolver says: "reset", "add", "remove"."""
        self.plane.turn(getattr(self.cluster, method), addresses)
        self.run()

    # ---- what was counted ----

    def stats(self) -> list[Any]:
        found = {id(s): s for s in [*self.plane.call_stats(), *self.router.call_stats()]}
        for endpoint in self.known.values():
            found.update({id(s): s for s in endpoint.stats.values()})
        return list(found.values())

    def outcomes(self) -> Counter[Outcome]:
        """How calls ended, over all endpoints; "retried" counts attempts."""
        found: Counter[Outcome] = Counter()
        for stats in self.stats():
            for classification, http_status, grpc_status, flag, count in stats.responses():
                found[classification, http_status, grpc_status, flag] += count
        return found

    def ledger(self) -> None:
        """Close everything; then every call has ended once, and nothing went wrong inside the proxy."""
        for client in self.clients:
            client.close()
        self.run()
        for link in self.links:
            link.transport.stalled = False
        self.plane.turn(self.cluster.close)
        self.run()
        self.advance(60)
        assert self.plane.faults == 0, repr(self.plane.last_fault)
        assert self.plane.calls == 0
        assert sum(s.started for s in self.stats()) == sum(self.outcomes().values())
        assert all(e.in_flight == 0 for e in self.known.values())


def echo_mesh(endpoints: int | Sequence[EndpointAddress] = 1, **settings: Any) -> Mesh:
    """A Mesh whose servers answer every complete call with its own body."""
    return Mesh(endpoints, serve=echo, **settings)
