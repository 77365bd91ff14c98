"""The real server on loopback over a catalog that is fed by hand, and sidecars on gRPC's own client.

A `Sidecar` does what the protocol asks of a client: it keeps what it is told, answers each response, and says all it
wants every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.endpoint.v3.eds_pb2_grpc import EndpointDiscoveryServiceStub
from prometheus_client import CollectorRegistry

from injector.endpoints.server import EndpointServer
from injector.endpoints.stream import Limits
from proxy.address import SocketAddress
from proxy.discovery.kubernetes.catalog import Catalog
from tests.unit.kubernetes.stage import until

TYPE_URL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
NOT_FOUND, INVALID_ARGUMENT = 5, 3
TIMEOUT_S = 30.0

Row = tuple[str, str, int, str, str, str]
"""(zone, address, port, pod, uid, protocol)."""


class Served:
    """A server, its metrics and its catalog."""

    def __init__(self, catalog: Catalog, host: str, limits: Limits | None) -> None:
        self.catalog = catalog
        self.registry = CollectorRegistry()
        self.server = EndpointServer(catalog, SocketAddress(host, 0), self.registry, limits=limits)
        self._host = host

    @property
    def address(self) -> str:
        return str(SocketAddress(self._host, self.server.port))

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"meshctl_endpoints_{name}", labels) or 0.0

    async def reaches(self, expected: float, name: str, **labels: str) -> None:
        """Waits until the metric is that."""
        await until(lambda: self.metric(name, **labels) == expected, TIMEOUT_S)


@asynccontextmanager
async def served(
    catalog: Catalog, *, host: str = "127.0.0.1", limits: Limits | None = None, grace_s: float = 0.0
) -> AsyncIterator[Served]:
    it = Served(catalog, host, limits)
    await it.server.start()
    try:
        yield it
    finally:
        await it.server.stop(grace_s)


def rows(assignment: ClusterLoadAssignment) -> list[Row]:
    """Its endpoints, in its order. AssertionError if one is not as every endpoint is."""
    found = []
    for locality in assignment.endpoints:
        assert locality.lb_endpoints, "a zone without endpoints"
        for each in locality.lb_endpoints:
            place, said = each.endpoint.address.socket_address, each.metadata.filter_metadata["meshctl.io"].fields
            assert (each.health_status, each.load_balancing_weight.value) == (1, 1)
            uid, protocol = said["uid"].string_value, said["protocol"].string_value
            pod = each.endpoint.hostname
            found.append((locality.locality.zone, place.address, place.port_value, pod, uid, protocol))
    return found


class Sidecar:
    """`has` is by name: rows, or the code of an error. `responses` are all that came."""

    def __init__(self, served: Served, *, namespace: str = "emojivote", zone: str = "") -> None:
        self._channel = grpc.aio.insecure_channel(served.address, options=(("grpc.use_local_subchannel_pool", 1),))
        self.call: Any = EndpointDiscoveryServiceStub(self._channel).StreamEndpoints()
        self._node = {"namespace": namespace, "zone": zone}
        self._task: asyncio.Task[None] | None = None
        self._speaking = asyncio.Lock()
        self.names: tuple[str, ...] = ()
        self.nonce = ""
        self.has: dict[str, list[Row] | int] = {}
        self.raw: dict[str, bytes] = {}
        self.responses: list[DiscoveryResponse] = []
        self.answers = True

    async def want(self, *names: str, nonce: str | None = None, problem: str = "") -> None:
        """Says that these are all it wants; the nonce is the last response's unless given."""
        self.names = names
        for name in self.has.keys() - set(names):
            del self.has[name]
        await self._say(nonce, problem)

    async def _say(self, nonce: str | None = None, problem: str = "") -> None:
        async with self._speaking:  # gRPC takes one message at a time
            await self._write(self.nonce if nonce is None else nonce, problem)

    async def _write(self, nonce: str, problem: str) -> None:
        request = DiscoveryRequest(type_url=TYPE_URL, resource_names=self.names, response_nonce=nonce)
        if self._node:
            request.node.id = "web-0.emojivote"
            request.node.locality.zone = self._node["zone"]
            request.node.metadata["namespace"] = self._node["namespace"]
            self._node = {}
        if problem:
            request.error_detail.message = problem
        with suppress(grpc.aio.AioRpcError):  # ended meanwhile: `read` and `end` tell
            await self.call.write(request)

    async def read(self, timeout_s: float | None = TIMEOUT_S) -> DiscoveryResponse:
        """The next response, kept and answered."""
        async with asyncio.timeout(timeout_s):
            response = await self.call.read()
        assert isinstance(response, DiscoveryResponse), "the stream ended"
        assert response.type_url == TYPE_URL and response.version_info == response.nonce
        assert int(response.nonce) == len(self.responses) + 1
        self.responses.append(response)
        self.nonce = response.nonce
        for resource in response.resources:
            assignment = ClusterLoadAssignment()
            assert resource.Unpack(assignment)
            self.has[assignment.cluster_name] = rows(assignment)
            self.raw[assignment.cluster_name] = resource.value
        for error in response.resource_errors:
            self.has[error.resource_name.name] = error.error_detail.code
        for name in self.has.keys() - set(self.names):
            del self.has[name]  # it was on its way when it was given up
        if self.answers:
            await self._say()
        return response

    def keep_reading(self) -> None:
        """From now on, until `close`."""

        async def run() -> None:
            while True:
                await self.read(timeout_s=None)

        self._task = asyncio.create_task(run())

    async def reaches(self, condition: Callable[[], object]) -> None:
        """Waits until it is so; raises what made reading end."""
        task = self._task
        assert task is not None
        await until(lambda: task.done() or condition())
        if task.done():
            task.result()

    async def has_nothing_more(self, within_s: float = 0.1) -> None:
        """AssertionError if a response comes meanwhile. Ends the stream, as a read cannot be taken back."""
        with suppress(TimeoutError):
            response = await asyncio.wait_for(self.call.read(), within_s)
            raise AssertionError(f"something came: {response}")

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Reads until the stream ends: why."""
        async with asyncio.timeout(TIMEOUT_S):
            with suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            return await self.call.code(), await self.call.details()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._channel.close()


@asynccontextmanager
async def sidecar(served: Served, *names: str, namespace: str = "emojivote", zone: str = "") -> AsyncIterator[Sidecar]:
    """Wants `names`; nothing is read yet."""
    it = Sidecar(served, namespace=namespace, zone=zone)
    try:
        await it.want(*names)
        yield it
    finally:
        await it.close()
