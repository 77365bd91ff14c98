"""Where names lead, straight from the API server: a catalog of some namespaces, kept by the sidecar itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.config import DiscoveryConfig, KubernetesConfig
from proxy.discovery.directory import Answer, Tell
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.catalog import Catalog, Subscription
from proxy.discovery.kubernetes.names import parse_authority
from proxy.discovery.kubernetes.source import keep

SETTLE_S: Final = 0.02  # what follows a change within this time is told with it


class KubernetesDirectory:
    """See `proxy.discovery.directory.Directory`. It follows its pod's namespace, or those that it is given."""

    def __init__(
        self,
        config: DiscoveryConfig,
        api: KubernetesConfig,
        tell: Tell,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._zone = api.zone or ""
        self._api = ApiServer(api)
        self._tell = tell
        self._sleep = sleep
        self._catalog = Catalog()
        self._subscriptions: dict[str, Subscription | None] = {}  # None: nothing that Kubernetes knows of
        self._said: dict[str, Answer | None] = {}
        self._changed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the first lists were complete: what is told afterwards may be old, but is all there is."""
        return self._catalog.complete

    def follow(self, name: str) -> None:
        if name in self._subscriptions:
            return
        parsed = parse_authority(name, self._config.namespace or "", self._config.cluster_domain)
        self._subscriptions[name] = (
            None if parsed is None else self._catalog.subscribe(parsed, self._changed.set, zone=self._zone)
        )
        if parsed is None:
            asyncio.get_running_loop().call_soon(self._say, name, None)

    def forget(self, name: str) -> None:
        self._said.pop(name, None)
        subscription = self._subscriptions.pop(name, None)
        if subscription is not None:
            subscription.close()

    async def run(self) -> None:
        namespaces = self._config.namespaces or (self._config.namespace or "",)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep(self._api, self._catalog, namespaces=namespaces))
            tasks.create_task(self._report())

    async def _report(self) -> None:
        try:
            while True:
                await self._changed.wait()
                await self._sleep(SETTLE_S)
                self._changed.clear()
                for name, subscription in list(self._subscriptions.items()):
                    if subscription is not None and subscription.changed and self._catalog.complete:
                        subscription.take()
                        self._say(name, self._answer(subscription))
        finally:
            await self._api.close()

    def _answer(self, subscription: Subscription) -> Answer | None:
        target = self._catalog.find(subscription.name, self._zone)
        return None if target is None else Answer(tuple(each.address for each in target.members), target.protocol)

    def _say(self, name: str, answer: Answer | None) -> None:
        if name in self._subscriptions and (name not in self._said or self._said[name] != answer):
            self._said[name] = answer
            self._tell(name, answer)
