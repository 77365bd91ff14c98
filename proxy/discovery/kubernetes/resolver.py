"""The endpoints of one configured cluster, straight from the API server.

It follows the one Service and its slices, and nothing else, so a sidecar holds and receives no more than it uses. The
API server unreachable: nothing is said, and the last endpoints stay for as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Final

from proxy.config import KubernetesConfig, KubernetesServiceConfig
from proxy.discovery import EndpointUpdate
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import ServiceName
from proxy.discovery.kubernetes.source import keep

SETTLE_S: Final = 0.02  # what follows a change within this time is one update with it


class KubernetesResolver:
    """Follows a Service for as long as someone iterates its updates."""

    def __init__(
        self,
        service: KubernetesServiceConfig,
        api: KubernetesConfig,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._service = service
        self._api = api
        self._sleep = sleep

    async def updates(self) -> AsyncGenerator[EndpointUpdate, None]:
        """Yields what changed; see `proxy.discovery.Resolver`."""
        key = (self._service.namespace, self._service.service)
        changed = asyncio.Event()
        catalog, api = Catalog(), ApiServer(self._api)
        subscription = catalog.subscribe(ServiceName(key, self._service.port), changed.set, zone=self._api.zone or "")
        keeping = asyncio.create_task(keep(api, catalog, only=key))
        keeping.add_done_callback(lambda _: changed.set())
        try:
            while True:
                await changed.wait()
                if keeping.done():
                    await keeping  # a fault of ours: it ends with an exception only
                await self._sleep(SETTLE_S)
                changed.clear()
                for update in subscription.take():
                    yield update
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({keeping})
            await api.close()
