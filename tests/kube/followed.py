"""Code under test that follows the API server, on an event loop of its own beside the test."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from proxy.config import KubernetesConfig
from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset, Resolver
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.source import keep
from tests.support.waiting import wait_until

CLOSING_S = 0.1


class Followed:
    """What a resolver has said so far. Every update is checked against what it may be after those before."""

    def __init__(self) -> None:
        self.endpoints: dict[tuple[str, int, str], EndpointAddress] | None = None  # None: no such service
        self.updates: list[EndpointUpdate] = []
        self.fault: BaseException | None = None

    @property
    def pods(self) -> set[str] | None:
        return None if self.endpoints is None else {each.pod for each in self.endpoints.values()}

    def wait_for(self, *pods: str, timeout_s: float = 60) -> None:
        """Returns when these are the endpoints."""
        try:
            wait_until(lambda: self.fault or self.pods == set(pods), f"endpoints {pods}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; they are {self.pods}") from None
        if self.fault is not None:
            raise self.fault

    def wait_for_none(self, timeout_s: float = 60) -> None:
        """Returns when the last word is that there is no such service."""
        wait_until(lambda: self.updates and self.endpoints is None, "the end of the service", timeout_s)

    async def run(self, updates: AsyncGenerator[EndpointUpdate, None]) -> None:
        try:
            async for update in updates:
                self._apply(update)
                self.updates.append(update)
        except BaseException as error:
            self.fault = error
            raise
        finally:
            await updates.aclose()

    def _apply(self, update: EndpointUpdate) -> None:
        known = dict(self.endpoints or {})
        match update:
            case DoesNotExist():
                assert self.endpoints is not None or not self.updates, "said twice that there is no such service"
                self.endpoints = None
                return
            case Reset(endpoints):
                assert self.endpoints is None, "a Reset where the difference was to be said"
                known = {each.identity: each for each in endpoints}
            case Add(endpoints):
                assert not {each.identity for each in endpoints} & known.keys(), "an endpoint twice"
                known |= {each.identity: each for each in endpoints}
            case Remove(endpoints):
                for each in endpoints:
                    del known[each.identity]
        self.endpoints = known


@contextmanager
def followed(resolver: Resolver) -> Iterator[Followed]:
    """Follows a resolver until the end; a fault of it fails the test."""
    seen = Followed()
    with _running(seen.run(resolver.updates())):
        yield seen
    if seen.fault is not None and not isinstance(seen.fault, asyncio.CancelledError):
        raise seen.fault


@contextmanager
def kept(config: KubernetesConfig, *namespaces: str) -> Iterator[Catalog]:
    """A catalog that is kept up to date, and complete: of the whole cluster, or of some namespaces."""
    catalog = Catalog()

    async def keeping() -> None:
        api = ApiServer(config)
        try:
            await keep(api, catalog, namespaces)
        finally:
            await api.close()

    with _running(keeping()):
        wait_until(lambda: catalog.complete, "the first lists")
        yield catalog


@contextmanager
def _running(coroutine: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Runs a coroutine in a thread, on uvloop as the proxy does, until the block is left."""
    loop = uvloop.new_event_loop()
    task = loop.create_task(coroutine)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_ended(task))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(60)
        assert not thread.is_alive(), "it did not end when it was cancelled"


async def _ended(task: "asyncio.Task[None]") -> None:
    await asyncio.wait({task})
    # aiohttp closes connections with TLS, but does not wait for their end; uvloop's loop cannot be closed before that.
    await asyncio.sleep(CLOSING_S)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
