"""A collection kept up to date: list, then watch from the version of the list, for as long as it takes.

    ends as it was asked to, or breaks   watch again from the last version, which bookmarks bring forward
    410, as a status or an event         that version is forgotten: list again
    refused otherwise, or broken thrice  list again

A list replaces what was known, so objects that vanished meanwhile are deleted. After a failure the next try comes
after a random time that doubles up to half a minute; until one succeeds, what was known stays. Knows neither HTTP nor
what the objects are.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Protocol

from proxy.discovery.kubernetes.api import ApiError, ApiServer, GoneError, Json, RefusedError, UnreachableError

log = logging.getLogger(__name__)

WATCH_S: Final = (120.0, 180.0)  # drawn at random, so that all the sidecars of a cluster do not come back at once
BACKOFF_S: Final = (0.5, 30.0)
BROKEN_BEFORE_LIST: Final = 3
LIVED_S: Final = 1.0  # a watch that ends sooner, without an event, is a failure: else it would be asked in a loop


class Sink(Protocol):
    """What is done with the objects of a collection."""

    def replace(self, items: Sequence[Json]) -> None:
        """These are all there are."""

    def put(self, item: Json) -> None:
        """It is new or has changed."""

    def drop(self, item: Json) -> None:
        """It was deleted."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Which objects: a path of the API, and selectors as the query has them."""

    path: str
    selector: Mapping[str, str] = field(default_factory=dict)


class Follower:
    """Keeps one collection. `listed` is set after the first list."""

    def __init__(
        self,
        api: ApiServer,
        collection: Collection,
        sink: Sink,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._api = api
        self._collection = collection
        self._sink = sink
        self._sleep = sleep
        self._uniform = uniform
        self._version = ""  # empty: list next
        self._failures = 0
        self.listed = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiError as error:
                await self._failed(error)

    async def _list(self) -> None:
        items, version = await self._api.list_all(self._collection.path, self._collection.selector)
        self._version = version
        self._sink.replace(items)
        self.listed.set()

    async def _watch(self) -> None:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        path, selector = self._collection.path, self._collection.selector
        silent = True
        async with aclosing(self._api.watch(path, selector, self._version, self._uniform(*WATCH_S))) as events:
            async for batch in events:
                silent = False
                for event in batch:
                    self._apply(event)
                self._succeeded()
        if silent and now_s() - began_s < LIVED_S:
            raise UnreachableError(f"{path}: the watch ended at once")
        self._succeeded()

    def _apply(self, event: Json) -> None:
        item = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._sink.put(item)
            case "DELETED":
                self._sink.drop(item)
        # A bookmark is an object with nothing but its version. Kinds of events that are not known are passed over.
        metadata = item.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("resourceVersion"), str):
            self._version = metadata["resourceVersion"] or self._version

    def _succeeded(self) -> None:
        if self._failures:
            log.info("the Kubernetes API answers for %s again", self._collection.path)
        self._failures = 0

    async def _failed(self, error: ApiError) -> None:
        self._failures += 1
        low_s, high_s = BACKOFF_S
        backoff_s = min(high_s, low_s * 2.0 ** min(self._failures - 1, 30))
        if isinstance(error, RefusedError) or self._failures % BROKEN_BEFORE_LIST == 0:
            self._version = ""
        after_s = 0.0
        if isinstance(error, RefusedError):
            after_s = min(error.retry_after_s, high_s)
        if self._failures == 1 and not isinstance(error, GoneError):
            log.warning("the Kubernetes API failed, the last endpoints stay: %s", error)
        await self._sleep(max(after_s, self._uniform(backoff_s / 2, backoff_s)))
