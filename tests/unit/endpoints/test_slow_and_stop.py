"""Sidecars that do not read, and the server's end."""

import asyncio

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from injector.endpoints.server import EndpointServer
from injector.endpoints.stream import Limits
from proxy.address import SocketAddress
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.support.ports import accepts
from tests.unit.endpoints.stage import TIMEOUT_S, served, sidecar
from tests.unit.endpoints.test_changes import NO_PAUSE, VOTING, pods, row
from tests.unit.kubernetes.stage import Object, filled, put

pytestmark = pytest.mark.asyncio

PODS = 1000


def many(first: int) -> Object:
    """Some 200 KB as a response; the pod that `first` names is the only one that tells two of them apart."""
    pods = [endpoint(f"10.2.{index // 250}.{index % 250}", f"pod-{index}") for index in range(PODS)]
    return endpoint_slice("a", endpoint("10.1.0.1", f"v-{first}"), *pods)


async def test_a_sidecar_that_does_not_read_holds_up_nobody_and_gets_the_latest_state() -> None:
    catalog = filled(service(), many(0))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING) as slow, sidecar(it, VOTING) as quick:
        await quick.read()
        for number in range(1, 60):
            put(catalog, many(number))
            await quick.read()
            assert f"v-{number}" in {each[3] for each in quick.has[VOTING]}
        sent_to_slow = it.metric("responses_total") - 60
        assert sent_to_slow < 50, "what is not read must not be sent for ever"
        before = len(slow.responses)
        while not any(each[3] == "v-59" for each in slow.has.get(VOTING, ())):
            await slow.read()
        assert len(slow.responses) - before < 50
        await slow.has_nothing_more()


async def test_a_sidecar_that_reads_nothing_for_long_is_cut_off_and_counted() -> None:
    catalog = filled(service(), many(0))
    limits = Limits(pause_s=0.0, stuck_s=0.5)
    async with served(catalog, limits=limits) as it, sidecar(it, VOTING) as slow:
        for number in range(1, 500):
            put(catalog, many(number))
            if it.metric("streams_ended_total", reason="not_reading"):
                break
            await asyncio.sleep(0.02)
        assert it.metric("streams_ended_total", reason="not_reading") == 1
        assert it.metric("subscriptions") == 0
        assert await slow.end() == (grpc.StatusCode.ABORTED, "nothing was read for 0 s")
        await it.reaches(0, "streams")
        put(catalog, pods(1))  # soon sent: it is not to be cut off as well, however slow this machine is
        async with sidecar(it, VOTING) as again:
            await again.read()
            assert again.has == {VOTING: [row(1)]}


async def test_at_the_end_every_sidecar_is_told_to_go_and_it_does_not_take_the_grace() -> None:
    async with served(filled(service(), pods(1))) as it, sidecar(it, VOTING) as web, sidecar(it, VOTING) as other:
        await web.read()
        await other.read()
        stopping = asyncio.create_task(it.server.stop(30.0))
        for each in (web, other):
            assert await each.end() == (grpc.StatusCode.UNAVAILABLE, "this controller stops")
        async with asyncio.timeout(TIMEOUT_S):
            await stopping
        await it.reaches(0, "streams")  # gRPC says so a turn before the last of them is counted
        assert not accepts(it.address)


async def test_a_sidecar_that_hears_nothing_does_not_hold_up_the_end_beyond_the_grace() -> None:
    catalog = filled(service(), many(0))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING):
        for number in range(1, 30):
            put(catalog, many(number))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(TIMEOUT_S):
            await it.server.stop(0.3)


async def test_a_port_that_is_taken_is_an_error_at_start() -> None:
    async with served(filled()) as it:
        second = EndpointServer(filled(), SocketAddress("127.0.0.1", it.server.port), CollectorRegistry())
        with pytest.raises(OSError, match=f"cannot listen on {it.address}"):
            await second.start()


async def test_a_sidecar_moves_to_another_replica_and_misses_nothing() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog) as second:
        async with served(catalog) as first, sidecar(first, VOTING) as web:
            await web.read()
            put(catalog, pods(1, 2))
        async with sidecar(second, VOTING) as again:
            await again.read()
            assert again.has == {VOTING: [row(1), row(2)]}
