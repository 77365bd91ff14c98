"""The gRPC server of the endpoint service: `StreamEndpoints` over plaintext HTTP/2."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry

from injector.endpoints.assignments import Assignments
from injector.endpoints.metrics import Metrics
from injector.endpoints.request import EndedError
from injector.endpoints.stream import Limits, Stream
from proxy.address import SocketAddress
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import DOMAIN

log = logging.getLogger(__name__)

SERVICE: Final = "envoy.service.endpoint.v3.EndpointDiscoveryService"
METHOD: Final = "StreamEndpoints"
GRACE_S: Final = 5.0

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
    ("grpc.max_receive_message_length", 2 * 1024 * 1024),
    # Sidecars ping every 20 s, to notice a controller that vanished; half of that is taken for abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Nodes vanish without a word too.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),
    # Now and then (10 % earlier or later, says gRPC) a sidecar has to connect again: so a new replica gets its share,
    # and one that answers pings but reads nothing does not stay.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
)


class EndpointServer:
    """Serves what `catalog` knows, from `start` to `stop`. `port` is where, also if `address` says port 0."""

    def __init__(
        self,
        catalog: Catalog,
        address: SocketAddress,
        registry: CollectorRegistry,
        *,
        domain: str = DOMAIN,
        limits: Limits | None = None,
    ) -> None:
        self._catalog = catalog
        self._address = address
        self._domain = domain
        self._limits = limits or Limits()
        self._metrics = Metrics(registry)
        self._streams: set[Stream] = set()
        self._server: Any = None
        self._assignments: Assignments | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens. Raises OSError if it cannot."""
        self._assignments = Assignments(self._catalog, self._domain)
        self._server = grpc.aio.server(options=OPTIONS)
        method = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),))
        try:
            self.port = self._server.add_insecure_port(str(self._address))
        except RuntimeError:  # what went wrong is on standard error only: gRPC says it there
            raise OSError(f"endpoint service: cannot listen on {self._address}") from None
        await self._server.start()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Tells every sidecar to go to another replica, and waits up to `grace_s` for them to have heard it."""
        if self._server is None:
            return
        stopping = asyncio.create_task(self._server.stop(grace_s))
        await asyncio.sleep(0)  # no new streams, and GOAWAY, come first
        for stream in self._streams:
            stream.end(EndedError(grpc.StatusCode.UNAVAILABLE, "stopping", "this controller stops"))
        await stopping

    async def _serve(self, _: object, call: Any) -> None:
        """One stream. Messages are bytes both ways, since no codec is given above."""
        assert self._assignments is not None
        stream = Stream(call, self._assignments, self._limits, self._metrics)
        self._streams.add(stream)
        self._metrics.streams.set(len(self._streams))
        try:
            if len(self._streams) > self._limits.streams:
                text = f"{self._limits.streams} sidecars are served already"
                raise EndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_streams", text)
            await stream.run()
        except EndedError as error:
            self._metrics.ended.labels(error.reason).inc()
            if error.reason != "stopping":
                log.warning("%s: stream ended: %s", call.peer(), error)
            # The status comes after what is being written: a sidecar that reads nothing counts until it is gone.
            await call.abort(error.code, error.text)
        finally:
            self._streams.discard(stream)
            self._metrics.streams.set(len(self._streams))
