"""The controller's admin pages."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from injector.admin import AdminServer
from proxy.address import SocketAddress
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.version import VERSION
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.kubernetes.stage import filled


@asynccontextmanager
async def served(catalog: Catalog, ready: tuple[bool, str] = (True, "")) -> AsyncIterator[Any]:
    """A function that gets (status, text) of a path."""
    registry = CollectorRegistry()
    Counter("things", "Some.", registry=registry).inc(3)
    admin = AdminServer(SocketAddress("127.0.0.1", 0), registry, lambda: ready, catalog, "cluster.local")
    await admin.start()
    async with aiohttp.ClientSession(f"http://{admin.address}") as session:

        async def get(path: str, **options: Any) -> tuple[int, str]:
            async with session.get(path, **options) as response:
                return response.status, await response.text()

        yield get
    await admin.stop()


def catalog() -> Catalog:
    pods = (endpoint("10.1.0.1", "v-1", zone="a"), endpoint("10.1.0.2", "v-2", zone="b"))
    return filled(service(ports=[{"name": "grpc", "port": 80, "appProtocol": "grpc"}]), endpoint_slice("v-1", *pods))


@pytest.mark.asyncio
async def test_health_version_and_metrics() -> None:
    async with served(Catalog()) as get:
        assert await get("/live") == (200, "live\n")
        assert await get("/ready") == (200, "ready\n")
        assert json.loads((await get("/version"))[1]) == {"version": VERSION}
        for accept in ("", "application/openmetrics-text; version=x", "text/plain"):
            status, text = await get("/metrics", headers={"Accept": accept})
            assert status == 200
            assert next(text_string_to_metric_families(text)).name == "things"
        status, text = await get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert text.endswith("# EOF\n")


@pytest.mark.asyncio
async def test_what_is_not_ready_says_why() -> None:
    async with served(Catalog(), (False, "no certificate")) as get:
        assert await get("/ready") == (503, "no certificate\n")
        assert (await get("/live"))[0] == 200


@pytest.mark.parametrize("authority", ["voting.emojivote", "VOTING.emojivote.svc.cluster.local:80", "10.96.0.1:80"])
@pytest.mark.asyncio
async def test_the_endpoints_of_an_authority(authority: str) -> None:
    async with served(catalog()) as get:
        status, text = await get("/endpoints", params={"authority": authority})
    assert status == 200
    first = {"address": "10.1.0.1", "port": 8080, "weight": 1, "pod": "v-1", "uid": "uid-v-1", "zone": "a"}
    second = {"address": "10.1.0.2", "port": 8080, "weight": 1, "pod": "v-2", "uid": "uid-v-2", "zone": "b"}
    assert json.loads(text) == {
        "authority": authority,
        "service": "emojivote/voting",
        "protocol": "http2",
        "endpoints": [first, second],
    }


@pytest.mark.asyncio
async def test_a_pod_is_an_endpoint_without_a_service_and_short_names_need_a_namespace() -> None:
    async with served(catalog()) as get:
        _, text = await get("/endpoints", params={"authority": "10.1.0.2:8080"})
        assert json.loads(text)["service"] is None
        assert [each["pod"] for each in json.loads(text)["endpoints"]] == ["v-2"]
        assert (await get("/endpoints", params={"authority": "voting", "namespace": "emojivote"}))[0] == 200
        assert (await get("/endpoints", params={"authority": "voting", "namespace": "other"}))[0] == 404


@pytest.mark.asyncio
async def test_errors_are_json_too() -> None:
    async with served(catalog()) as get:
        for authority in ("www.example.com", "voting.emojivote:99999", "absent.emojivote"):
            status, text = await get("/endpoints", params={"authority": authority})
            assert (status, json.loads(text)) == (404, {"error": f"{authority!r} is no Service and no pod known here"})
        assert (await get("/endpoints"))[0] == 400
    async with served(Catalog()) as get:
        status, text = await get("/endpoints", params={"authority": "voting.emojivote"})
        assert (status, list(json.loads(text))) == (503, ["error"])
