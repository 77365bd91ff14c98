"""The gRPC server of the endpoint service: `StreamEndpoints` over plaintext HTTP/2."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry

from injector.endpoints.assignments import Assignments
from injector.endpoints.metrics import Metrics
from injector.endpoints.peers import Peers
from injector.endpoints.request import EndedError
from injector.endpoints.stream import Limits, Stream
from proxy.address import SocketAddress
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import DOMAIN

log = logging.getLogger(__name__)

SERVICE: Final = "envoy.service.endpoint.v3.EndpointDiscoveryService"
METHOD: Final = "StreamEndpoints"
GRACE_S: Final = 5.0
WARN_EVERY_S: Final = 1.0

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
    ("grpc.max_receive_message_length", 2 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 100),  # of a connection; a sidecar has one
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
        self._peers = Peers(self._limits.peer)
        self._streams: set[Stream] = set()
        self._warned_s: dict[str, float] = {}
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
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(self._stream(call))
                # By itself, and not with the first response: while that is being written no status could be sent.
                await call.send_initial_metadata(())
                await stream.run()
            except EndedError as error:
                self._metrics.ended.labels(error.reason).inc()
                self._warn(error, call.peer())
                # The status comes after what is being written: a sidecar that reads nothing counts until it is gone.
                await call.abort(error.code, error.text)

    @contextmanager
    def _stream(self, call: Any) -> Iterator[Stream]:
        """One more stream, for as long as it is open. Raises EndedError if it is one too many."""
        assert self._assignments is not None
        if len(self._streams) >= self._limits.streams:
            text = f"{self._limits.streams} sidecars are served already"
            raise EndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_streams", text)
        peer = self._peers.enter(call.peer())
        stream = Stream(call, peer, self._assignments, self._limits, self._metrics)
        self._streams.add(stream)
        self._metrics.streams.set(len(self._streams))
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            self._metrics.streams.set(len(self._streams))
            self._peers.leave(peer)

    def _warn(self, error: EndedError, peer: str) -> None:
        """Once a second for each reason: who is refused may try again at once, and again."""
        now_s = asyncio.get_running_loop().time()
        is_due = now_s >= self._warned_s.get(error.reason, -math.inf) + WARN_EVERY_S
        if error.reason != "stopping" and is_due:
            self._warned_s[error.reason] = now_s
            log.warning("%s: stream ended: %s", peer, error)
