"""The controller, written out once from top to bottom: the one place that wires everything together.

    Services, EndpointSlices -> Catalog -> endpoint service -> sidecars
                                        -> admin pages
    Namespaces, Secret -> Webhook -> Events
    Lease -> CertificateKeeper -> Secret, caBundle

Owns the order of starting and stopping. Every other module is handed what it needs, and knows no more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import uuid4

import uvloop
from prometheus_client import CollectorRegistry, Info, ProcessCollector, disable_created_metrics

from injector.admin import AdminServer
from injector.config import ControllerConfig
from injector.endpoints.peers import PeerLimits
from injector.endpoints.server import EndpointServer
from injector.endpoints.stream import Limits
from injector.events import Events
from injector.keeper import CertificateKeeper, secrets, service_names
from injector.lease import Election
from injector.metrics import Metrics
from injector.namespaces import Namespaces
from injector.serving import ServingCertificate
from injector.webhook import Webhook
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.follow import Follower
from proxy.discovery.kubernetes.source import keep
from proxy.version import VERSION

log = logging.getLogger("meshctl")

LEASE: Final = "meshctl-controller"
LATE_S: Final = 5.0
"""How long a controller that is told to stop still serves: until then, some still hold it for a good address."""


Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Server(Protocol):
    """What is started and stopped with the controller. `stop` finishes what runs, and returns when all is closed."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Which pod this controller is, by the downward API."""

    namespace: str
    pod: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Identity:
        return cls(
            environment.get("MESHCTL_NAMESPACE") or "meshctl",
            environment.get("MESHCTL_POD_NAME") or "meshctl-controller",
        )


class Injection:
    """The webhook and all it needs: what is started with it, what goes on beside it, what it waits for."""

    def __init__(
        self, config: ControllerConfig, identity: Identity, api: ApiServer, registry: CollectorRegistry, now: Now
    ) -> None:
        clock = asyncio.get_running_loop().time
        metrics = Metrics(registry)
        self.namespaces = Namespaces(api, config.namespaces)
        self.events = Events(api, identity.pod, metrics, clock=clock)
        names = service_names(identity.namespace, config.cluster_domain)
        self.keeper = CertificateKeeper(api, identity.namespace, names, metrics, now=now)
        self.certificate = ServingCertificate(metrics, self.keeper.wake)
        self.webhook = Webhook(
            config.webhook.address, self.certificate.door, config.injection, self.namespaces, self.events, metrics
        )
        self._secret = Follower(api, secrets(identity.namespace), self.certificate)
        self._election: Election | None = None
        if config.webhook.certificates == "self":
            # Not the pod's name alone: a container that is started again is another candidate.
            candidate = f"{identity.pod}_{uuid4()}"
            self._election = Election(
                api, identity.namespace, LEASE, candidate, on_change=lambda leads: metrics.leads.set(leads)
            )

    def works(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield self.namespaces.run()
        yield self._secret.run()
        yield self.events.run()

    def leading(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What ends first when the controller stops, so that another can lead."""
        if self._election is not None:
            yield self._election.run(self.keeper.run)

    def obstacles(self) -> Iterator[str]:
        if not self.certificate.is_loaded:
            yield "there is no webhook certificate yet"
        if not self.namespaces.are_listed:
            yield "the first list of Namespaces is not complete yet"


class Controller:
    """A running controller. `run` returns when it has drained."""

    def __init__(
        self, config: ControllerConfig, identity: Identity, *, late_s: float = LATE_S, now: Now = utc_now
    ) -> None:
        self._config = config
        self._late_s = late_s
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self.registry = _registry()
        self.api = ApiServer(config.kubernetes)
        self.catalog = Catalog()
        self.injection = Injection(config, identity, self.api, self.registry, now) if config.webhook.enabled else None
        self.admin = AdminServer(config.admin.address, self.registry, self.ready, self.catalog, config.cluster_domain)
        peer = PeerLimits(streams=config.endpoints.streams_per_address, names=config.endpoints.names_per_address)
        self.endpoints = EndpointServer(
            self.catalog,
            config.endpoints.address,
            self.registry,
            domain=config.cluster_domain,
            limits=Limits(peer=peer),
        )
        # Started in this order, stopped in the other: what tells of the rest is there for all of the time.
        webhook = (self.injection.webhook,) if self.injection is not None else ()
        self._servers: tuple[Server, ...] = (self.admin, self.endpoints, *webhook)

    def ready(self) -> tuple[bool, str]:
        """Whether pods and sidecars are served rightly, and if not why."""
        for reason in self._obstacles():
            return False, reason
        return True, ""

    def shutdown(self) -> None:
        """Begin to drain; the second time, stop at once."""
        if self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()

    async def run(self) -> None:
        """Start, serve until told to stop, drain. Raises what went wrong: OSError at the start, or a fault of ours."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.shutdown)
        works = [loop.create_task(work) for work in self._works()]
        leading = [loop.create_task(work) for work in (self.injection.leading() if self.injection else ())]
        started: list[Server] = []
        try:
            for server in self._servers:
                await server.start()
                started.append(server)
            log.info("admin on %s, endpoints on port %d", self.admin.address, self.endpoints.port)
            await self._told_to_stop([*works, *leading])
            await _ended(leading)
            await self._serve_late()
        finally:
            await _ended(leading)
            for server in reversed(started):
                await server.stop()
            await _ended(works)
            await self.api.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        log.info("stopped")

    def _works(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What goes on beside the servers, for as long as they serve."""
        yield keep(self.api, self.catalog, self._config.namespaces)
        if self.injection is not None:
            yield from self.injection.works()

    def _obstacles(self) -> Iterator[str]:
        if self._stopping.is_set():
            yield "shutting down"
        if not self.catalog.complete:
            yield "the first lists of Services and EndpointSlices are not complete yet"
        if self.injection is not None:
            yield from self.injection.obstacles()

    async def _told_to_stop(self, works: list[asyncio.Task[None]]) -> None:
        """Returns when it is; raises the fault of a work that ended."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({stopping, *works}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended([stopping])
        for work in done - {stopping}:
            work.result()

    async def _serve_late(self) -> None:
        log.info("draining: served for %g s more", self._late_s)
        if self.injection is not None:
            self.injection.webhook.retire()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._late_s):
                await self._at_once.wait()


async def _ended(works: list[Any]) -> None:
    """Cancels them, and waits until they are gone."""
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Info("meshctl_controller", "This controller.", registry=registry).info({"version": VERSION})
    return registry


def main(config: ControllerConfig) -> int:
    """Runs a controller until SIGTERM; returns the exit status: 0, or 1 for a failed start or a fault."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger().setLevel(config.log_level.upper())

    disable_created_metrics()  # type: ignore[no-untyped-call]

    async def serve() -> None:
        await Controller(config, Identity.of(os.environ)).run()

    try:
        uvloop.run(serve())
    except OSError as error:
        print(f"meshctl: {error.strerror or error}", file=sys.stderr)
        return 1
    except Exception:
        log.exception("the controller has a fault")
        return 1
    return 0
