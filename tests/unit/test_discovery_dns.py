"""The DNS resolver: what it says, and when it asks again; over real sockets from a server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import dns.rcode
import pytest
import uvloop

from proxy.address import SocketAddress
from proxy.config import DnsConfig
from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset
from proxy.discovery.dns import DnsResolver
from tests.support.dns_server import A, DnsServer, Records, dns_server
from tests.support.ports import free_port

NAME = "voting.test"
SERVFAIL, NXDOMAIN = dns.rcode.SERVFAIL, dns.rcode.NXDOMAIN


def endpoints(*hosts: str) -> tuple[EndpointAddress, ...]:
    return tuple(EndpointAddress(host, 8080) for host in hosts)


class Rounds:
    """A sleep that never waits: before each round it carries out the next step of a plan, then asks go on.

    When the plan is over the resolver sleeps for good, which ends the test's iteration.
    """

    def __init__(self, *plan: Callable[[], object]) -> None:
        self._plan = list(plan)
        self.slept_s: list[float] = []
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if not self._plan:
            self.over.set()
            await asyncio.get_running_loop().create_future()
        self._plan.pop(0)()


def low(low_s: float, high_s: float) -> float:
    """Draws the lowest jitter."""
    assert low_s <= high_s
    return low_s


async def updates_of(server: DnsServer, rounds: Rounds, **config: Any) -> list[EndpointUpdate]:
    """All updates until the plan of `rounds` is over."""
    options = {"query_timeout_s": config.pop("query_timeout_s", 5.0), "uniform": config.pop("uniform", low)}
    nameservers = config.pop("nameservers", (SocketAddress("127.0.0.1", server.port),))
    resolver = DnsResolver(DnsConfig(name=NAME, port=8080, nameservers=nameservers, **config), sleep=rounds, **options)
    seen: list[EndpointUpdate] = []

    async def iterate() -> None:
        async for update in resolver.updates():
            seen.append(update)  # noqa: PERF401 - what came before the cancellation must be kept

    task = asyncio.create_task(iterate())
    over = asyncio.create_task(rounds.over.wait())
    await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    over.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return seen


# ---- what answers mean ----


@asynccontextmanager
async def serving(**records: Records) -> AsyncIterator[DnsServer]:
    async with dns_server() as server:
        server.sets(**records)()
        yield server


@pytest.mark.asyncio
async def test_both_address_families_make_one_reset_in_order() -> None:
    async with serving(a=Records(["10.0.0.2", "10.0.0.1"]), aaaa=Records(["fd00::0:1"])) as server:
        assert await updates_of(server, Rounds()) == [Reset(endpoints("10.0.0.1", "10.0.0.2", "fd00::1"))]
        assert server.questions == {"udp": 2, "tcp": 0}


@pytest.mark.asyncio
async def test_changes_become_add_then_remove() -> None:
    async with serving(a=Records(["10.0.0.1", "10.0.0.2"])) as server:
        rounds = Rounds(
            server.sets(a=Records(["10.0.0.2", "10.0.0.3"])),
            server.sets(),
            server.sets(aaaa=Records(["fd00::1"])),
            server.sets(a=Records(["10.0.0.3"])),
        )
        assert await updates_of(server, rounds) == [
            Reset(endpoints("10.0.0.1", "10.0.0.2")),
            Add(endpoints("10.0.0.3")),
            Remove(endpoints("10.0.0.1")),
            Add(endpoints("fd00::1")),
            Remove(endpoints("10.0.0.2")),
        ]


@pytest.mark.asyncio
async def test_a_name_without_addresses_is_an_empty_service() -> None:
    async with serving() as server:
        rounds = Rounds(server.sets(a=Records(["10.0.0.1"])), server.sets(a=Records()))
        assert await updates_of(server, rounds) == [
            Reset(()),
            Add(endpoints("10.0.0.1")),
            Remove(endpoints("10.0.0.1")),
        ]


@pytest.mark.asyncio
async def test_nxdomain_is_said_once_and_a_return_begins_anew() -> None:
    gone = Records(rcode=NXDOMAIN)
    async with serving(a=gone, aaaa=gone) as server:
        rounds = Rounds(
            server.sets(),
            server.sets(a=Records(["10.0.0.1"]), aaaa=Records()),
            server.sets(a=gone, aaaa=gone),
            server.sets(a=Records(), aaaa=Records()),
        )
        assert await updates_of(server, rounds) == [
            DoesNotExist(),
            Reset(endpoints("10.0.0.1")),
            DoesNotExist(),
            Reset(()),
        ]


@pytest.mark.asyncio
async def test_nxdomain_for_one_family_alone_does_not_hide_the_other() -> None:
    async with serving(a=Records(["10.0.0.1"]), aaaa=Records(rcode=NXDOMAIN)) as server:
        assert await updates_of(server, Rounds()) == [Reset(endpoints("10.0.0.1"))]


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", [Records(rcode=SERVFAIL), Records(rcode=dns.rcode.REFUSED), Records(silent=True)])
async def test_a_failure_keeps_the_last_endpoints(broken: Records) -> None:
    async with serving(a=Records(["10.0.0.1"]), aaaa=Records(["fd00::1"])) as server:
        rounds = Rounds(
            server.sets(a=broken, aaaa=broken),
            server.sets(),
            server.sets(a=Records(["10.0.0.1"]), aaaa=Records()),
        )
        assert await updates_of(server, rounds, query_timeout_s=1.0 if broken.silent else 30.0) == [
            Reset(endpoints("10.0.0.1", "fd00::1")),
            Remove(endpoints("fd00::1")),
        ]
        assert len(rounds.slept_s) == 4


@pytest.mark.asyncio
async def test_a_failure_at_the_start_says_nothing() -> None:
    broken = Records(rcode=SERVFAIL)
    async with serving(a=broken, aaaa=broken) as server:
        rounds = Rounds(server.sets(a=Records(rcode=NXDOMAIN)), server.sets(a=Records(["10.0.0.1"])))
        assert await updates_of(server, rounds) == [Reset(endpoints("10.0.0.1"))]


@pytest.mark.asyncio
async def test_one_family_that_fails_stays_while_the_other_is_followed() -> None:
    async with serving(a=Records(["10.0.0.1"]), aaaa=Records(["fd00::1"])) as server:
        rounds = Rounds(
            server.sets(a=Records(["10.0.0.2"]), aaaa=Records(rcode=SERVFAIL)),
            server.sets(aaaa=Records(["fd00::2"])),
        )
        assert await updates_of(server, rounds) == [
            Reset(endpoints("10.0.0.1", "fd00::1")),
            Add(endpoints("10.0.0.2")),
            Remove(endpoints("10.0.0.1")),
            Add(endpoints("fd00::2")),
            Remove(endpoints("fd00::1")),
        ]


@pytest.mark.asyncio
async def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    many = [f"10.0.{i}.{j}" for i in range(8) for j in range(100)]
    async with serving(a=Records(many)) as server:
        server.truncate = True
        (update,) = await updates_of(server, Rounds())
        assert isinstance(update, Reset)
        assert {endpoint.host for endpoint in update.endpoints} == set(many)
        assert server.questions == {"udp": 2, "tcp": 2}


@pytest.mark.asyncio
async def test_a_name_server_that_is_down_is_passed_over() -> None:
    async with serving(a=Records(["10.0.0.1"])) as server:
        servers = (SocketAddress("127.0.0.1", free_port()), SocketAddress("127.0.0.1", server.port))
        assert await updates_of(server, Rounds(), nameservers=servers) == [Reset(endpoints("10.0.0.1"))]


@pytest.mark.asyncio
async def test_the_name_is_asked_for_as_it_stands() -> None:
    async with serving(a=Records(["10.0.0.1"])) as server:
        await updates_of(server, Rounds())
        assert set(server.names) == {f"{NAME}."}


# ---- when it asks again ----


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("a", "aaaa", "negative_ttl_s", "expected_s"),
    [
        (Records(["10.0.0.1"], ttl_s=7), Records(["fd00::1"], ttl_s=9), None, 7),
        (Records(["10.0.0.1"], ttl_s=9), Records(["fd00::1"], ttl_s=7), None, 7),
        (Records(["10.0.0.1"], ttl_s=0), Records(), None, 2),
        (Records(["10.0.0.1"], ttl_s=300), Records(), None, 20),
        (Records(["10.0.0.1"], ttl_s=9, alias="pods.test.", alias_ttl_s=4), Records(), None, 4),
        (Records(["10.0.0.1"], ttl_s=9), Records(), 3, 9),
        (Records(), Records(), 5, 5),
        (Records(rcode=NXDOMAIN), Records(rcode=NXDOMAIN), 5, 5),
        (Records(rcode=NXDOMAIN), Records(rcode=NXDOMAIN), None, 20),
    ],
    ids=[
        "a smaller",
        "aaaa smaller",
        "not sooner than the minimum",
        "not later than the maximum",
        "the alias counts",
        "no addresses of one type sets no pace",
        "an empty name",
        "no such name",
        "no such name without SOA",
    ],
)
async def test_it_asks_again_when_the_smallest_ttl_has_run_out(
    a: Records, aaaa: Records, negative_ttl_s: int | None, expected_s: float
) -> None:
    async with serving(a=a, aaaa=aaaa) as server:
        server.negative_ttl_s = negative_ttl_s
        rounds = Rounds()
        await updates_of(server, rounds, min_refresh_s=2.0, max_refresh_s=20.0)
        assert rounds.slept_s == [expected_s]


@pytest.mark.asyncio
async def test_failures_back_off_within_the_bounds_and_a_success_ends_it() -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low_s: float, high_s: float) -> float:
        drawn.append((low_s, high_s))
        return high_s

    async with serving(a=Records(["10.0.0.1"], ttl_s=6)) as server:
        broken = server.sets(a=Records(rcode=SERVFAIL), aaaa=Records(rcode=SERVFAIL))
        well = server.sets(a=Records(["10.0.0.1"], ttl_s=6), aaaa=Records())
        rounds = Rounds(broken, broken, broken, broken, well, broken)
        await updates_of(server, rounds, min_refresh_s=1.0, max_refresh_s=10.0, uniform=uniform)
        assert rounds.slept_s == [6, 2, 4, 8, 10, 6, 2]
        assert drawn == [(1, 2), (2, 4), (4, 8), (5, 10), (1, 2)]


@pytest.mark.asyncio
@pytest.mark.parametrize("ttl_s", [1, 20])
async def test_a_family_that_fails_does_not_delay_the_other_nor_wait_for_its_ttl(ttl_s: int) -> None:
    async with serving(a=Records(["10.0.0.1"], ttl_s=ttl_s), aaaa=Records(rcode=SERVFAIL)) as server:
        rounds = Rounds()
        seen = await updates_of(server, rounds, uniform=lambda _, high_s: high_s)
        assert seen == [Reset(endpoints("10.0.0.1"))]
        assert rounds.slept_s == [min(ttl_s, 2)]


# ---- life ----


@pytest.mark.asyncio
async def test_updates_end_when_they_are_closed_or_cancelled() -> None:
    async with serving(a=Records(["10.0.0.1"])) as server:
        config = DnsConfig(name=NAME, port=1, nameservers=(SocketAddress("127.0.0.1", server.port),))
        updates = DnsResolver(config).updates()
        await anext(updates)
        await updates.aclose()
        server.zone[A] = Records(silent=True)
        waiting = asyncio.ensure_future(anext(DnsResolver(config).updates()))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


def test_it_runs_on_uvloop() -> None:
    async def run() -> list[EndpointUpdate]:
        async with serving(a=Records(["10.0.0.1"])) as server:
            server.truncate = True
            return await updates_of(server, Rounds())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == [Reset(endpoints("10.0.0.1"))]
