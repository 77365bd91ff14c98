"""What a sidecar is told when the cluster changes, how soon, and of what not."""

import asyncio

import pytest

from injector.endpoints.stream import Limits
from proxy.discovery.kubernetes.catalog import Catalog
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.endpoints.stage import INVALID_ARGUMENT, NOT_FOUND, Row, served, sidecar
from tests.unit.kubernetes.stage import Object, filled, put

pytestmark = pytest.mark.asyncio

VOTING = "voting.emojivote:8080"
HOURS = Limits(pause_s=3600.0)
NO_PAUSE = Limits(pause_s=0.0)
PAUSE_S = 0.5


def pods(*numbers: int, name: str = "a", of: str = "voting") -> Object:
    return endpoint_slice(name, *(endpoint(f"10.1.0.{number}", f"v-{number}") for number in numbers), service=of)


def row(number: int) -> Row:
    return "", f"10.1.0.{number}", 8080, f"v-{number}", f"uid-v-{number}", "detect"


async def test_nothing_is_answered_before_the_first_lists_are_complete() -> None:
    catalog = Catalog()
    put(catalog, service(), pods(1))
    async with served(catalog) as it, sidecar(it, VOTING, "nobody:80", "a b") as web, sidecar(it, "a b") as other:
        await it.reaches(4, "subscriptions")
        put(catalog, pods(1, 2))
        await asyncio.sleep(0.1)
        assert it.metric("responses_total") == 0
        catalog.set_complete()
        await web.read()
        assert web.has == {VOTING: [row(1), row(2)], "nobody:80": NOT_FOUND, "a b": INVALID_ARGUMENT}
        await other.read()
        assert other.has == {"a b": INVALID_ARGUMENT}


async def test_a_service_comes_and_goes_and_comes_again() -> None:
    catalog = filled()
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING) as web:
        await web.read()
        assert web.has == {VOTING: NOT_FOUND}
        for number in (1, 2):
            put(catalog, pods(number))
            put(catalog, service())
            await web.read()
            assert web.has == {VOTING: [row(number)]}
            catalog.drop_slice(("emojivote", "a"))
            await web.read()
            assert web.has == {VOTING: []}
            catalog.drop_service(("emojivote", "voting"))
            await web.read()
            assert web.has == {VOTING: NOT_FOUND}


async def test_only_the_names_that_changed_are_in_a_response() -> None:
    catalog = filled(service(), pods(1), service("web", ips=["10.96.0.2"]), pods(9, name="w", of="web"))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING, "10.96.0.1:8080", "web:8080") as web:
        assert len((await web.read()).resources) == 3
        put(catalog, pods(1, 2))
        response = await web.read()
        assert len(response.resources) == 2
        assert web.has == {VOTING: [row(1), row(2)], "10.96.0.1:8080": [row(1), row(2)], "web:8080": [row(9)]}


async def test_what_changes_nothing_for_the_name_is_not_sent() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING) as web:
        await web.read()
        put(catalog, service(ports=[{"name": "grpc", "port": 8080}, {"name": "new", "port": 1}]))
        put(catalog, endpoint_slice("b", endpoint("10.1.0.7", "v-7", ready=False, serving=False)))
        await web.has_nothing_more()


async def test_the_first_change_is_sent_at_once_and_later_ones_together_after_the_pause() -> None:
    catalog = filled(service(), pods(1), service("web", ips=["10.96.0.2"]), pods(9, name="w", of="web"))
    async with served(catalog, limits=HOURS) as it, sidecar(it, VOTING, "web:8080") as web:
        await web.read()
        put(catalog, pods(2))
        await web.read()
        assert web.has[VOTING] == [row(2)]
        put(catalog, pods(3))
        put(catalog, pods(8, name="w", of="web"))
        await web.has_nothing_more()
    async with served(catalog, limits=Limits(pause_s=PAUSE_S)) as it, sidecar(it, VOTING, "web:8080") as web:
        await web.read()
        began_s = asyncio.get_running_loop().time()
        put(catalog, pods(4))
        await web.read()
        for number in range(5, 90):
            put(catalog, pods(number), pods(number + 100, name="w", of="web"))
            await asyncio.sleep(0)
        read = [await web.read()]
        while web.has != {VOTING: [row(89)], "web:8080": [row(189)]}:
            read.append(await web.read())
        pauses = (asyncio.get_running_loop().time() - began_s) / PAUSE_S
        assert len(read) <= pauses, "one, unless all that took longer than a pause"
        assert len(read[0].resources) == 2


async def test_a_new_name_does_not_wait_for_the_pause_and_brings_along_what_did() -> None:
    catalog = filled(service(), pods(1), service("web", ips=["10.96.0.2"]), pods(9, name="w", of="web"))
    async with served(catalog, limits=HOURS) as it, sidecar(it, VOTING) as web:
        await web.read()
        put(catalog, pods(2))
        await web.read()
        put(catalog, pods(3))
        await web.want(VOTING, "web:8080")
        await web.read()
        if web.has[VOTING] != [row(3)]:
            await web.read()  # the change and the request met: the one or the other came first
        assert web.has == {VOTING: [row(3)], "web:8080": [row(9)]}


async def test_what_changes_back_within_the_pause_is_not_sent() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog, limits=Limits(pause_s=2.0)) as it, sidecar(it, VOTING) as web:
        await web.read()
        put(catalog, pods(2))
        await web.read()
        put(catalog, pods(3))
        await asyncio.sleep(0)
        put(catalog, pods(2))
        await web.has_nothing_more(2.5)


async def test_names_in_different_words_and_streams_share_what_is_serialized() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog) as it, sidecar(it, VOTING) as a, sidecar(it, VOTING, namespace="other") as b:
        await a.read()
        await b.read()
        assignments = it.server._assignments
        assert assignments is not None and len(assignments) == 1


async def test_the_time_from_a_change_until_it_is_sent_is_measured_and_answers_are_not() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog) as it, sidecar(it, VOTING) as web:
        await web.read()
        assert it.metric("change_seconds_count") == 0
        put(catalog, pods(2))
        await web.read()
        await it.reaches(1, "change_seconds_count")
        assert 0 < it.metric("change_seconds_sum") < 30
