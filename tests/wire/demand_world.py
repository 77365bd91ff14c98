"""A mesh whose calls are looked up as they come: its router asks a Demand, and its directory answers when told to."""

from __future__ import annotations

from typing import Any

from proxy.clusters import Originals
from proxy.config import DiscoveryConfig
from proxy.dataplane import DownstreamSession, Origin
from proxy.demand import Demand
from proxy.discovery.directory import Answer
from tests.wire.harness import Mesh, address
from tests.wire.messages import message, request_headers
from tests.wire.peers import Client

DIALLED = "10.9.0.1:8080"
WAIT_S = 1.0


class Directory:
    """Answers when a test says so."""

    connected = True

    def __init__(self) -> None:
        self.followed: list[str] = []
        self.forgotten: list[str] = []

    def follow(self, name: str) -> None:
        self.followed.append(name)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    async def run(self) -> None:
        raise AssertionError("not used here")


class DemandWorld:
    """A Mesh whose router asks a Demand."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.directory = Directory()
        self.originals = Originals(mesh.plane, self._reroute)
        loop: Any = mesh.loop
        self.demand = Demand(mesh.plane, self.originals, DiscoveryConfig(wait_s=WAIT_S), self._reroute, loop)
        self.demand.directory = self.directory
        self._reroute()

    def _reroute(self) -> None:
        self.mesh.router.replace(self._route)

    def _route(self, _listener: str, destination: str, authority: str, _path: str, protocol: str) -> Any:
        cluster = self.demand.way(authority, destination, "http2" if protocol == "grpc" else protocol)
        return None if cluster is None else ([(cluster, 1)], None)

    def client(self, destination: str = DIALLED) -> Client:
        client = Client(None)
        self.mesh.clients.append(client)
        self.mesh._connect(DownstreamSession(self.mesh.router, Origin("outbound", destination)), client, {})
        self.mesh.run()
        return client

    def call(self, client: Client, authority: str = "voting:8080") -> int:
        headers = [(k, authority.encode() if k == b":authority" else v) for k, v in request_headers()]
        stream = client.call(headers, message(b"vote"))
        self.mesh.run()
        return stream

    def told(self, name: str, *numbers: int, protocol: str = "detect") -> None:
        """The directory answers: these endpoints."""
        self.demand.told(name, Answer(tuple(map(address, numbers)), protocol))
        self.mesh.run()

    def not_mine(self, name: str) -> None:
        self.demand.told(name, None)
        self.mesh.run()

    def went_to(self) -> set[str]:
        """Hosts that have got a call."""
        mesh = self.mesh
        return {mesh.of_server[id(server)].host for server in mesh.servers if server.streams}


def answered(client: Client, stream: int) -> bool:
    return client[stream].get("grpc-status") == "0"
