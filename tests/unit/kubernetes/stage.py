"""A catalog filled with the API's JSON, a reader that keeps what its updates amount to, and waiting."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset
from proxy.discovery.kubernetes.catalog import Catalog, Target
from proxy.discovery.kubernetes.names import parse_authority
from proxy.discovery.kubernetes.records import read_service, read_slice

Object = dict[str, Any]


def put(catalog: Catalog, *items: Object) -> None:
    for item in items:
        if "spec" in item:
            service = read_service(item)
            assert service is not None
            catalog.put_service(service)
        else:
            read = read_slice(item)
            assert read is not None
            catalog.put_slice(read)


def filled(*items: Object) -> Catalog:
    """A complete catalog of these objects."""
    catalog = Catalog()
    put(catalog, *items)
    catalog.set_complete()
    return catalog


def find(catalog: Catalog, authority: str, namespace: str = "", zone: str = "") -> Target | None:
    name = parse_authority(authority, namespace)
    return None if name is None else catalog.find(name, zone)


def hosts(target: Target | None) -> list[str] | None:
    """ "address:port" of each endpoint; None if the name is not ours."""
    if target is None:
        return None
    return [f"{member.endpoint.address}:{member.port}" for member in target.members]


class Reader:
    """Subscribes, and applies the updates it takes as a cluster would: strictly."""

    def __init__(self, catalog: Catalog, authority: str, namespace: str = "", zone: str = "") -> None:
        name = parse_authority(authority, namespace)
        assert name is not None
        self.told = 0
        self.endpoints: set[EndpointAddress] | None = None
        self.subscription = catalog.subscribe(name, self._on_change, zone)

    def _on_change(self) -> None:
        self.told += 1

    def take(self) -> tuple[EndpointUpdate, ...]:
        updates = self.subscription.take()
        for update in updates:
            match update:
                case Reset(endpoints):
                    assert self.endpoints is None, "a Reset of what was known"
                    self.endpoints = set(endpoints)
                case Add(endpoints):
                    assert self.endpoints is not None and self.endpoints.isdisjoint(endpoints) and endpoints
                    self.endpoints |= set(endpoints)
                case Remove(endpoints):
                    assert self.endpoints is not None and self.endpoints.issuperset(endpoints) and endpoints
                    self.endpoints -= set(endpoints)
                case DoesNotExist():
                    self.endpoints = None
        return updates


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Polls until it is true; AssertionError after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "not within reasonable time"
        await asyncio.sleep(0.01)
