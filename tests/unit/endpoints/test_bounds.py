"""What a peer may ask for: how much of it at a time, how much at all, and what that costs the others."""

import asyncio

import grpc
import grpc.aio
import pytest

from injector.endpoints.messages import LONGEST_NAME
from injector.endpoints.peers import Peer, PeerLimits, Peers
from injector.endpoints.request import EndedError
from injector.endpoints.stream import PARTS, SLICE, Limits
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.endpoints.stage import NOT_FOUND, TIMEOUT_S, Served, served, sidecar
from tests.unit.endpoints.test_changes import VOTING, pods, row
from tests.unit.endpoints.test_protocol import METHOD
from tests.unit.kubernetes.stage import filled

pytestmark = pytest.mark.asyncio

MANY = [f"s{number}:80" for number in range(4000)]
REFUSED = grpc.StatusCode.RESOURCE_EXHAUSTED


def known(it: Served) -> int:
    assert it.server._assignments is not None
    return len(it.server._assignments)


async def begun(it: Served) -> None:
    """Returns in the turn in which the first names are followed."""
    async with asyncio.timeout(TIMEOUT_S):
        while not known(it):  # noqa: ASYNC110 (every turn counts)
            await asyncio.sleep(0)


async def most_known_in_a_turn(it: Served, end: asyncio.Event) -> int:
    """By how much the names that the server follows have grown from one turn of the event loop to the next, at most."""
    most, before = 0, known(it)
    while not end.is_set():
        await asyncio.sleep(0)
        most, before = max(most, known(it) - before), known(it)
    return most


async def test_a_request_for_many_names_is_worked_on_a_few_at_a_time() -> None:
    end = asyncio.Event()
    async with served(filled()) as it, sidecar(it, *MANY) as web:
        watching = asyncio.create_task(most_known_in_a_turn(it, end))
        while len(web.has) < len(MANY):
            await web.read()
        end.set()
        assert 0 < await watching <= SLICE
        assert max(len(response.resource_errors) for response in web.responses) <= PARTS


async def test_who_asks_for_many_names_does_not_hold_up_who_asks_for_one() -> None:
    async with served(filled(service(), pods(1))) as it, sidecar(it, *MANY), sidecar(it) as web:
        await it.reaches(2, "streams")
        await begun(it)
        await web.want(VOTING)
        await web.read()
        assert web.has == {VOTING: [row(1)]}
        assert known(it) < len(MANY), "it was answered only when all others were"


async def test_a_stream_that_ends_while_its_names_are_looked_up_leaves_nothing_behind() -> None:
    catalog = filled()
    async with served(catalog) as it:
        async with sidecar(it, *MANY):
            await begun(it)
        await it.reaches(0, "streams")
        assert (known(it), it.metric("subscriptions"), len(catalog._readers)) == (0, 0, 0)
        async with sidecar(it, VOTING) as web:
            await web.read()
            assert web.has == {VOTING: NOT_FOUND}


async def test_a_service_is_kept_once_in_however_many_ways_it_is_written() -> None:
    written = {
        "voting:8080",
        "voting.emojivote:8080",
        "VOTING.emojivote:8080",
        "Voting.EmojiVote.svc:8080",
        "voting.emojivote.svc.cluster.local:8080",
        "voting.emojivote.svc.cluster.local.:8080",
    }
    async with served(filled(service(), pods(1))) as it, sidecar(it, *written) as web:
        while len(web.has) < len(written):
            await web.read()
        assert web.has == {name: [row(1)] for name in written}
        assert known(it) == 1


async def test_what_no_name_can_be_is_kept_once_wherever_it_is_asked_from() -> None:
    catalog = filled()
    async with served(catalog) as it, sidecar(it, "a b", "c d", zone="a") as web, sidecar(it, "e f", zone="b") as other:
        await web.read()
        await other.read()
        assert known(it) == 1


async def test_a_zone_or_a_namespace_that_no_label_can_hold_is_none() -> None:
    here, there = endpoint("10.1.0.1", "v-1", zones=["a"]), endpoint("10.1.0.2", "v-2", zones=["b"])
    hinted = endpoint_slice("a", here, there)
    async with served(filled(service(), hinted)) as it:
        async with sidecar(it, VOTING, zone="a") as web:
            await web.read()
            assert [each[1] for each in web.has[VOTING]] == ["10.1.0.1"]  # type: ignore[union-attr]
        async with sidecar(it, VOTING, "voting:8080", zone="a" * 64, namespace="emojivote" + "e" * 64) as web:
            await web.read()
            assert len(web.has[VOTING]) == 2  # type: ignore[arg-type]
            assert web.has["voting:8080"] == NOT_FOUND


async def test_more_streams_of_an_address_than_allowed_are_refused_and_the_others_live() -> None:
    limits = Limits(peer=PeerLimits(streams=2))
    async with served(filled(service(), pods(1)), limits=limits) as it, sidecar(it, VOTING) as web:
        await web.read()
        async with sidecar(it, VOTING) as second, sidecar(it, VOTING) as third:
            await second.read()
            assert await third.end() == (REFUSED, "127.0.0.1 has 2 streams already")
            assert it.metric("streams_ended_total", reason="too_many_peer_streams") == 1
        await it.reaches(1, "streams")
        async with sidecar(it, VOTING) as again:
            await again.read()
            assert again.has == {VOTING: [row(1)]}


async def test_more_names_of_an_address_than_allowed_end_the_stream_that_asks_for_them() -> None:
    limits = Limits(peer=PeerLimits(names=3))
    async with served(filled(service(), pods(1)), limits=limits) as it, sidecar(it, VOTING, "a:80") as web:
        await web.read()
        async with sidecar(it, VOTING, "a:80") as other:
            text = "3 names are the most that 127.0.0.1 may want in all its streams"
            assert await other.end() == (REFUSED, text)
        await it.reaches(2, "subscriptions")
        assert it.metric("streams_ended_total", reason="too_many_peer_names") == 1
        await web.want(VOTING)
        await it.reaches(1, "subscriptions")
        async with sidecar(it, VOTING, "a:80") as again:
            await again.read()
            assert again.has == {VOTING: [row(1)], "a:80": NOT_FOUND}


async def test_who_is_refused_again_and_again_is_counted_each_time_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(peer=PeerLimits(streams=0))
    async with served(filled(), limits=limits) as it, grpc.aio.insecure_channel(it.address) as channel:
        for _ in range(20):
            async with asyncio.timeout(TIMEOUT_S):
                assert await channel.stream_stream(METHOD)().code() == REFUSED
        await it.reaches(20, "streams_ended_total", reason="too_many_peer_streams")
    assert len([record for record in caplog.records if "stream ended" in record.getMessage()]) < 10


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ipv4:10.1.2.3:4711", "10.1.2.3"),
        ("ipv6:%5Bfd00::1%5D:4711", "%5Bfd00::1%5D"),
        ("unix:", "unix:"),
    ],
)
async def test_an_address_is_counted_whatever_port_it_comes_from(name: str, address: str) -> None:
    peers = Peers(PeerLimits(streams=1))
    peer = peers.enter(name)
    assert peer.address == address
    with pytest.raises(EndedError, match="has 1 streams already"):
        peers.enter(name.replace("4711", "4712"))
    other = peers.enter("ipv4:10.9.9.9:4711")
    assert other is not peer
    peers.leave(peer)
    assert peers.enter(name) is not peer, "nothing is remembered of who has no stream"


async def test_what_is_longer_than_a_name_counts_as_several() -> None:
    peer = Peer("10.1.2.3", PeerLimits(names=4))
    peer.take("a" * LONGEST_NAME)
    peer.take("a" * (3 * LONGEST_NAME))
    with pytest.raises(EndedError, match="4 names are the most"):
        peer.take("a")
    peer.give_back("a" * (3 * LONGEST_NAME))
    peer.take("a")
    assert peer.names == 2
