"""A catalog kept up to date: the Services and EndpointSlices of the cluster, of some namespaces, or of one Service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from proxy.discovery.kubernetes.api import ApiServer, Json
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.follow import Collection, Follower
from proxy.discovery.kubernetes.records import SERVICE_NAME, Key, Service, Slice, read_service, read_slice

CORE = "/api/v1"
DISCOVERY = "/apis/discovery.k8s.io/v1"


class ServiceSink:
    """Puts Services into a catalog."""

    def __init__(self, catalog: Catalog, namespace: str) -> None:
        """`namespace` is where the collection is; empty for the whole cluster."""
        self._catalog = catalog
        self._namespace = namespace

    def replace(self, items: Sequence[Json]) -> None:
        self._catalog.replace_services(_read(items), self._namespace)

    def put(self, item: Json) -> None:
        if (service := read_service(item)) is not None:
            self._catalog.put_service(service)

    def drop(self, item: Json) -> None:
        if (service := read_service(item)) is not None:
            self._catalog.drop_service(service.key)


class SliceSink:
    """Puts EndpointSlices into a catalog."""

    def __init__(self, catalog: Catalog, namespace: str) -> None:
        """`namespace` is where the collection is; empty for the whole cluster."""
        self._catalog = catalog
        self._namespace = namespace

    def replace(self, items: Sequence[Json]) -> None:
        self._catalog.replace_slices(_read_slices(items), self._namespace)

    def put(self, item: Json) -> None:
        read = read_slice(item)
        if read is not None:
            self._catalog.put_slice(read)
        else:
            # Its label may have been taken away: it then belongs to no Service any more.
            self.drop(item)

    def drop(self, item: Json) -> None:
        metadata = item.get("metadata")
        if isinstance(metadata, dict):
            self._catalog.drop_slice((str(metadata.get("namespace", "")), str(metadata.get("name", ""))))


def _read(items: Sequence[Json]) -> Iterator[Service]:
    return (service for item in items if (service := read_service(item)) is not None)


def _read_slices(items: Sequence[Json]) -> Iterator[Slice]:
    return (read for item in items if (read := read_slice(item)) is not None)


async def keep(api: ApiServer, catalog: Catalog, namespaces: Sequence[str] = (), only: Key | None = None) -> None:
    """Keeps `catalog` up to date until it is cancelled.

    It follows the whole cluster, or `namespaces` if some are given, or `only` the one Service. The catalog is complete
    when all has been listed once.
    """
    followers = list(_followers(api, catalog, namespaces, only))
    async with asyncio.TaskGroup() as tasks:
        for follower in followers:
            tasks.create_task(follower.run())
        for follower in followers:
            await follower.listed.wait()
        catalog.set_complete()


def _followers(api: ApiServer, catalog: Catalog, namespaces: Sequence[str], only: Key | None) -> Iterator[Follower]:
    services, slices = {}, {}
    if only is not None:
        namespaces = (only[0],)
        services = {"fieldSelector": f"metadata.name={only[1]}"}
        slices = {"labelSelector": f"{SERVICE_NAME}={only[1]}"}
    for namespace in namespaces or ("",):
        place = f"/namespaces/{namespace}" if namespace else ""
        yield Follower(api, Collection(f"{CORE}{place}/services", services), ServiceSink(catalog, namespace))
        yield Follower(api, Collection(f"{DISCOVERY}{place}/endpointslices", slices), SliceSink(catalog, namespace))
