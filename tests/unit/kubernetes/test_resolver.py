"""The resolver against an API server on loopback that forgets, lies, refuses and keeps silent."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.config import KubernetesConfig, KubernetesServiceConfig
from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset
from proxy.discovery.kubernetes import api, follow
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import ServiceName
from proxy.discovery.kubernetes.resolver import KubernetesResolver
from proxy.discovery.kubernetes.source import keep
from tests.support.kubernetes_objects import Object, endpoint, endpoint_slice, service
from tests.support.kubernetes_server import SERVICES, SLICES, KubernetesServer
from tests.unit.kubernetes.stage import until

SOON_S = 30.0


def pods(name: str, *numbers: int) -> Object:
    return endpoint_slice(name, *(endpoint(f"10.1.0.{number}", f"v-{number}") for number in numbers))


def pod(number: int) -> EndpointAddress:
    return EndpointAddress(f"10.1.0.{number}", 8080, pod=f"v-{number}", uid=f"uid-v-{number}")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of real life are half a minute."""
    monkeypatch.setattr(follow, "BACKOFF_S", (0.01, 0.1))
    monkeypatch.setattr(follow, "LIVED_S", 0.0)


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with KubernetesServer() as running:
        yield running


class Updates:
    """What a resolver says, one update at a time."""

    def __init__(self, resolver: KubernetesResolver) -> None:
        self._updates = resolver.updates()
        self._next: asyncio.Future[EndpointUpdate] | None = None

    async def next(self) -> EndpointUpdate:
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._updates))
        update = await asyncio.wait_for(self._next, SOON_S)
        self._next = None
        return update

    async def silent_for(self, seconds: float) -> bool:
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._updates))
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        return not done

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._updates.aclose()


@asynccontextmanager
async def following(server: KubernetesServer, directory: Path, port: int | str = 8080) -> AsyncIterator[Updates]:
    config = KubernetesConfig(kubeconfig=str(server.kubeconfig(directory)))
    wanted = KubernetesServiceConfig(service="voting", namespace="emojivote", port=port)
    updates = Updates(KubernetesResolver(wanted, config))
    try:
        yield updates
    finally:
        await updates.close()


async def watched(server: KubernetesServer) -> None:
    await until(lambda: server.watches(SERVICES) == server.watches(SLICES) == 1)


@pytest.mark.asyncio
async def test_a_service_is_listed_then_watched_and_nothing_else_is_asked_for(
    server: KubernetesServer, tmp_path: Path
) -> None:
    server.put(service(), pods("a", 1), service("other"), endpoint_slice("o", endpoint("10.1.0.9"), service="other"))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1),))
        await watched(server)
        server.put(pods("a", 1, 2), pods("b", 3), pods("b", 4))
        assert await updates.next() == Add((pod(2), pod(4)))
        server.delete(pods("a"))
        assert await updates.next() == Remove((pod(1), pod(2)))
        server.delete(service())
        assert await updates.next() == DoesNotExist()
        server.put(service())
        assert await updates.next() == Reset((pod(4),))
    assert {(path, query.get("fieldSelector"), query.get("labelSelector")) for _, path, query in server.requests} == {
        ("/api/v1/namespaces/emojivote/services", "metadata.name=voting", None),
        (
            "/apis/discovery.k8s.io/v1/namespaces/emojivote/endpointslices",
            None,
            "kubernetes.io/service-name=voting",
        ),
    }
    assert (server.count("list"), server.count("watch")) == (2, 2)
    assert set(server.tokens) == {"Bearer secret"}


@pytest.mark.asyncio
async def test_a_port_by_its_name(server: KubernetesServer, tmp_path: Path) -> None:
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path, "grpc") as updates:
        assert await updates.next() == Reset((pod(1),))


@pytest.mark.asyncio
async def test_a_service_that_is_not_there(server: KubernetesServer, tmp_path: Path) -> None:
    async with following(server, tmp_path) as updates:
        assert await updates.next() == DoesNotExist()


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["status", "event"])
async def test_410_either_way_is_followed_by_a_list_whose_difference_is_told(
    server: KubernetesServer, tmp_path: Path, way: str
) -> None:
    server.put(service(), pods("a", 1), pods("b", 2))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1), pod(2)))
        await watched(server)
        server.replace_quietly(SLICES, pods("b", 2, 3))
        if way == "status":
            server.forget()
            server.end_watches(SLICES)
        else:
            server.fail_watches(SLICES, 410)
        assert await updates.next() == Add((pod(3),))
        assert await updates.next() == Remove((pod(1),))
        await watched(server)
        server.put(pods("b", 3))
        assert await updates.next() == Remove((pod(2),))


@pytest.mark.asyncio
async def test_a_watch_that_ends_goes_on_from_the_last_bookmark_without_a_list(
    server: KubernetesServer, tmp_path: Path
) -> None:
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1),))
        await watched(server)
        server.bookmark(SLICES)
        server.forget()  # what was before the bookmark
        server.end_watches(SLICES)
        await until(lambda: server.count("watch") == 3)
        server.put(pods("a", 2))
        assert await updates.next() == Add((pod(2),))
        assert await updates.next() == Remove((pod(1),))
    assert server.count("list") == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"{}\n",
        b"[]\n",
        b'{"type": "ADDED"}\n',
        b'{"type": 1, "object": {}}\n',
        b'{"type": "ADDED", "object": null}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"type": "ERROR", "object": {}}\n',
        b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}\n',
        b'{"type": "ADDED", "object": {}}\n',
        b'{"type": "DELETED", "object": {"metadata": 5}}\n',
        b'{"type": "NOVELTY", "object": {"metadata": {"name": "a"}}}\n',
        b"\n\n",
    ],
    ids=lambda line: line[:40].decode(errors="replace").strip(),
)
async def test_garbage_in_a_watch_harms_nothing(server: KubernetesServer, tmp_path: Path, line: bytes) -> None:
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1),))
        await watched(server)
        server.send(SLICES, line)
        assert await updates.silent_for(0.1)
        await watched(server)
        server.put(pods("a", 2))
        assert await updates.next() == Add((pod(2),))
        assert await updates.next() == Remove((pod(1),))


@pytest.mark.asyncio
async def test_the_same_event_twice_and_in_pieces_is_said_once(server: KubernetesServer, tmp_path: Path) -> None:
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1),))
        await watched(server)
        line = json.dumps({"type": "MODIFIED", "object": pods("a", 1, 2)}).encode() + b"\n"
        for part in (line[:7], line[7:], line, line + line[:50]):
            server.send(SLICES, part)
            await asyncio.sleep(0.02)
        assert await updates.next() == Add((pod(2),))
        assert await updates.silent_for(0.2)


@pytest.mark.asyncio
async def test_a_server_that_is_gone_changes_nothing_and_its_return_tells_what_happened_meanwhile(
    server: KubernetesServer, tmp_path: Path
) -> None:
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1),))
        await watched(server)
        server.stop()
        assert await updates.silent_for(0.5)
        server.replace_quietly(SLICES, pods("b", 2))
        server.forget()
        server.start()
        assert await updates.next() == Add((pod(2),))
        assert await updates.next() == Remove((pod(1),))


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [403, 429, 500, 503])
async def test_a_refusal_is_tried_again_and_says_nothing_of_endpoints(
    server: KubernetesServer, tmp_path: Path, status: int
) -> None:
    server.put(service(), pods("a", 1))
    server.refuse_lists = status
    async with following(server, tmp_path) as updates:
        assert await updates.silent_for(0.2)
        server.refuse_lists = None
        assert await updates.next() == Reset((pod(1),))
        await watched(server)
        server.refuse_watches = status
        server.end_watches(SLICES)
        server.replace_quietly(SLICES, pods("b", 2))
        assert await updates.next() == Add((pod(2),)), "what a watch cannot tell, a list does"


@pytest.mark.asyncio
async def test_after_a_401_the_credentials_are_read_anew(server: KubernetesServer, tmp_path: Path) -> None:
    server.put(service(), pods("a", 1))
    server.token = "fresh"
    async with following(server, tmp_path) as updates:
        assert await updates.silent_for(0.2)
        server.kubeconfig(tmp_path, token="fresh")
        assert await updates.next() == Reset((pod(1),))


@pytest.mark.asyncio
async def test_a_watch_that_is_silent_beyond_its_end_is_begun_again(
    server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open: the server's side is there no more, and nothing says so."""
    monkeypatch.setattr(follow, "WATCH_S", (0.1, 0.1))
    monkeypatch.setattr(api, "SILENCE_S", 0.2)
    monkeypatch.setattr(api, "ANSWER_S", 0.3)
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path) as updates:
        assert await updates.next() == Reset((pod(1),))
        server.silent = True
        assert await updates.silent_for(1.5)
        asked = len(server.requests)
        await until(lambda: len(server.requests) > asked + 2)
        server.replace_quietly(SLICES, pods("b", 2))
        server.silent = False
        server.forget()
        assert await updates.next() == Add((pod(2),))


@pytest.mark.asyncio
@pytest.mark.parametrize("content", ["", "[]", "{", "contexts: 5", "current-context: x\ncontexts: []\n"])
async def test_a_wrong_kubeconfig_is_a_reason_to_wait(server: KubernetesServer, tmp_path: Path, content: str) -> None:
    server.put(service(), pods("a", 1))
    async with following(server, tmp_path) as updates:
        (tmp_path / "kubeconfig").write_text(content)
        assert await updates.silent_for(0.2)
        server.kubeconfig(tmp_path)
        assert await updates.next() == Reset((pod(1),))


@pytest.mark.asyncio
@pytest.mark.parametrize("namespaces", [(), ("emojivote", "b")])
async def test_many_objects_of_the_cluster_or_some_namespaces(
    server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespaces: tuple[str, ...]
) -> None:
    monkeypatch.setattr(api, "PAGE_ITEMS", 3)
    for namespace in ("emojivote", "b", "c"):
        for number in range(8):
            name = f"s{number}"
            server.put(service(name, namespace, ips=[]))
            server.put(endpoint_slice(name, endpoint("10.1.0.1"), service=name, namespace=namespace))
    catalog, changed = Catalog(), asyncio.Event()
    catalog.subscribe(ServiceName(("b", "s7"), 8080), changed.set)
    connection = ApiServer(KubernetesConfig(kubeconfig=str(server.kubeconfig(tmp_path))))
    keeping = asyncio.create_task(keep(connection, catalog, namespaces))
    await asyncio.wait_for(changed.wait(), SOON_S)
    found = {
        (namespace, number)
        for namespace in ("emojivote", "b", "c")
        for number in range(8)
        if catalog.find(ServiceName((namespace, f"s{number}"), 8080)) is not None
    }
    assert found == {(namespace, number) for namespace in namespaces or ("emojivote", "b", "c") for number in range(8)}
    keeping.cancel()
    await asyncio.wait({keeping})
    await connection.close()


@pytest.mark.asyncio
async def test_what_follows_a_change_closely_is_one_update_with_it(server: KubernetesServer, tmp_path: Path) -> None:
    server.put(service(), pods("a", 1))
    settling, settled = asyncio.Event(), asyncio.Event()
    settled.set()

    async def settle(_: float) -> None:
        settling.set()
        await settled.wait()

    config = KubernetesConfig(kubeconfig=str(server.kubeconfig(tmp_path)))
    wanted = KubernetesServiceConfig(service="voting", namespace="emojivote", port=8080)
    updates = Updates(KubernetesResolver(wanted, config, sleep=settle))
    assert await updates.next() == Reset((pod(1),))
    await watched(server)
    assert await updates.silent_for(0.05)
    settling.clear()
    settled.clear()
    server.put(pods("a", 1, 2))
    await asyncio.wait_for(settling.wait(), SOON_S)
    server.put(pods("b", 3))
    assert await updates.silent_for(0.2)
    settled.set()
    assert await updates.next() == Add((pod(2), pod(3)))
    await updates.close()


@pytest.mark.asyncio
async def test_the_configured_zone_is_the_one_that_hints_are_read_for(server: KubernetesServer, tmp_path: Path) -> None:
    here, there = endpoint("10.1.0.1", "v-1", zones=["a"]), endpoint("10.1.0.2", "v-2", zones=["b"])
    server.put(service(), endpoint_slice("a", here, there))
    config = KubernetesConfig(kubeconfig=str(server.kubeconfig(tmp_path)), zone="b")
    wanted = KubernetesServiceConfig(service="voting", namespace="emojivote", port=8080)
    updates = Updates(KubernetesResolver(wanted, config))
    assert await updates.next() == Reset((pod(2),))
    await updates.close()
