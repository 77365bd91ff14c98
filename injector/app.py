"""The controller, written out once from top to bottom: the one place that wires everything together.

    API server --watch--> Catalog --> endpoint service --> sidecars
                                 \\--> admin pages

Owns the order of starting and stopping. Every other module is handed what it needs, and knows no more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import uvloop
from prometheus_client import CollectorRegistry, Info, ProcessCollector

from injector.admin import AdminServer
from injector.config import ControllerConfig
from injector.endpoints.server import EndpointServer
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.source import keep
from proxy.version import VERSION

log = logging.getLogger("meshctl")

LATE_S: Final = 5.0
"""How long a controller that is told to stop still serves: until then, some still hold it for a good address."""


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


class Controller:
    """A running controller. `run` returns when it has drained."""

    def __init__(self, config: ControllerConfig, identity: Identity, *, late_s: float = LATE_S) -> None:
        self._config = config
        self._identity = identity
        self._late_s = late_s
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self.registry = _registry()
        self.api = ApiServer(config.kubernetes)
        self.catalog = Catalog()
        self.admin = AdminServer(config.admin.address, self.registry, self.ready, self.catalog, config.cluster_domain)
        self.endpoints = EndpointServer(
            self.catalog, config.endpoints.address, self.registry, domain=config.cluster_domain
        )
        # Started in this order, stopped in the other.
        self._servers: tuple[Server, ...] = (self.admin, self.endpoints)

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
        started: list[Server] = []
        try:
            for server in self._servers:
                await server.start()
                started.append(server)
            log.info("admin on %s, endpoints on port %d", self.admin.address, self.endpoints.port)
            await self._serve(works)
        finally:
            for server in reversed(started):
                await server.stop()
            await _ended(works)
            await self.api.close()
        log.info("stopped")

    def _works(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What goes on beside the servers, for as long as the controller runs."""
        yield keep(self.api, self.catalog, self._config.namespaces)

    def _obstacles(self) -> Iterator[str]:
        if self._stopping.is_set():
            yield "shutting down"
        if not self.catalog.complete:
            yield "the first lists of Services and EndpointSlices are not complete yet"

    async def _serve(self, works: list[asyncio.Task[None]]) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait({stopping, *works}, return_when=asyncio.FIRST_COMPLETED)
        await _ended([stopping])
        for work in done - {stopping}:
            work.result()
        log.info("draining: served for %g s more", self._late_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._at_once.wait(), self._late_s)


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
