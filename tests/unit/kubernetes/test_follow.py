"""When the API server is asked again after a failure; against a real one, with sleeps that are not slept."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.config import KubernetesConfig
from proxy.discovery.kubernetes.api import ApiServer
from proxy.discovery.kubernetes.follow import Collection, Follower
from tests.support.kubernetes_objects import Object, endpoint_slice
from tests.support.kubernetes_server import SLICES, KubernetesServer
from tests.unit.kubernetes.stage import until

SLEEPS = 9


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with KubernetesServer() as running:
        yield running


class Seen:
    """A sink that counts."""

    def __init__(self) -> None:
        self.lists: list[int] = []
        self.events = 0

    def replace(self, items: Sequence[Any]) -> None:
        self.lists.append(len(items))

    def put(self, _item: Any) -> None:
        self.events += 1

    def drop(self, item: Any) -> None: ...


async def sleeps_of(
    server: KubernetesServer, directory: Path, *, highest: bool, count: int = SLEEPS, seen: Seen | None = None
) -> list[float]:
    """The first pauses of a follower, with jitter at one end."""
    slept_s: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)
        if len(slept_s) >= count:
            enough.set()
            await asyncio.get_running_loop().create_future()

    def uniform(low_s: float, high_s: float) -> float:
        assert low_s <= high_s
        return high_s if highest else low_s

    connection = ApiServer(KubernetesConfig(kubeconfig=str(server.kubeconfig(directory))))
    collection = Collection("/apis/discovery.k8s.io/v1/endpointslices")
    following = asyncio.create_task(
        Follower(connection, collection, seen or Seen(), sleep=sleep, uniform=uniform).run()
    )
    await asyncio.wait_for(enough.wait(), 60)
    following.cancel()
    await asyncio.wait({following})
    await connection.close()
    return slept_s


@pytest.mark.asyncio
@pytest.mark.parametrize(("highest", "factor"), [(True, 1.0), (False, 0.5)])
async def test_pauses_double_from_half_a_second_to_half_a_minute_with_jitter(
    server: KubernetesServer, tmp_path: Path, highest: bool, factor: float
) -> None:
    server.refuse_lists = 503
    expected = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert await sleeps_of(server, tmp_path, highest=highest) == [seconds * factor for seconds in expected]


@pytest.mark.asyncio
async def test_lists_that_work_do_not_hide_watches_that_do_not(server: KubernetesServer, tmp_path: Path) -> None:
    server.refuse_watches = 403
    assert (await sleeps_of(server, tmp_path, highest=True))[:4] == [0.5, 1, 2, 4]
    assert server.count("list") == SLEEPS, "each refusal is followed by a list"


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_not_listed_before_three_watches_failed(
    server: KubernetesServer, tmp_path: Path
) -> None:
    server.close_watches = True
    assert (await sleeps_of(server, tmp_path, highest=True))[:4] == [0.5, 1, 2, 4]
    assert (server.count("watch"), server.count("list")) == (SLEEPS, 3)


@pytest.mark.asyncio
async def test_retry_after_is_obeyed_within_reason(server: KubernetesServer, tmp_path: Path) -> None:
    server.refuse_lists = 429
    server.retry_after = "7"
    assert (await sleeps_of(server, tmp_path, highest=True))[:6] == [7, 7, 7, 7, 8, 16]
    server.retry_after = "99999"
    assert max(await sleeps_of(server, tmp_path, highest=True)) == 30


@pytest.mark.asyncio
async def test_an_event_ends_the_series_of_pauses(server: KubernetesServer, tmp_path: Path) -> None:
    item: Object = endpoint_slice("a")
    seen = Seen()

    async def play() -> None:
        await until(lambda: server.count("list") >= 2)
        server.refuse_lists = None
        await until(lambda: server.watches(SLICES))
        server.put(item)
        await until(lambda: seen.events)
        server.fail_watches(SLICES, 410)
        server.refuse_lists = 500

    server.refuse_lists = 500
    playing = asyncio.create_task(play())
    slept_s = await sleeps_of(server, tmp_path, highest=True, count=30, seen=seen)
    await playing
    assert slept_s.count(0.5) == 2
