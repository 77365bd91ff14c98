"""Leader election in virtual time: replicas that contend over a bad network for one lease."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injector.lease import LEASE_S, RENEW_S, RETRY_S, Election
from proxy.discovery.kubernetes.api import RefusedError, UnreachableError
from tests.support import virtual_time

Json = Mapping[str, Any]
FOREVER_S = 1e6


class Store:
    """The API server's one lease, with a version that conditions writes."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0

    def get(self) -> Json:
        if self.lease is None:
            raise RefusedError(404, "not found")
        return self.lease

    def write(self, method: str, body: Json) -> Json:
        version = body["metadata"].get("resourceVersion")
        if method == "POST" and self.lease is not None:
            raise RefusedError(409, "already exists")
        if method == "PUT" and (self.lease is None or version != self.lease["metadata"]["resourceVersion"]):
            raise RefusedError(409, "the object has been modified")
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return self.lease


@dataclass(frozen=True)
class Trouble:
    """For `lasts_s` requests are not answered ("cut"), done and not answered ("deaf"), or fail ("fail")."""

    begins_s: float
    lasts_s: float
    kind: str

    def is_on(self, now_s: float) -> bool:
        return self.begins_s <= now_s < self.begins_s + self.lasts_s


@dataclass
class Link:
    """One replica's way to the API server."""

    store: Store
    latency_s: float = 0.01
    troubles: Sequence[Trouble] = ()
    requests: list[tuple[float, str]] = field(default_factory=list)

    async def get(self, path: str) -> Json:
        async with self._trouble("GET"):
            found = self.store.get()
        assert path.endswith("/namespaces/meshctl/leases/meshctl-controller")
        await asyncio.sleep(self.latency_s)
        return found

    async def send(self, method: str, path: str, body: Any) -> Json:
        async with self._trouble(method):
            found = self.store.write(method, body)
        assert path.endswith("/leases" if method == "POST" else "/leases/meshctl-controller")
        await asyncio.sleep(self.latency_s)
        return found

    @asynccontextmanager
    async def _trouble(self, what: str) -> AsyncIterator[None]:
        await asyncio.sleep(self.latency_s)
        now_s = asyncio.get_running_loop().time()
        self.requests.append((now_s, what))
        kinds = {trouble.kind for trouble in self.troubles if trouble.is_on(now_s)}
        if "fail" in kinds:
            raise UnreachableError("no way")
        if "cut" in kinds:
            await asyncio.sleep(FOREVER_S)
        yield
        if "deaf" in kinds:
            await asyncio.sleep(FOREVER_S)


class Replica:
    """A candidate; `terms` has from when to when it led."""

    def __init__(self, name: str, link: Link, seed: int = 0) -> None:
        self.terms: list[tuple[float, float]] = []
        self.link = link
        self.said: list[bool] = []
        self.election = Election(
            link,
            "meshctl",
            "meshctl-controller",
            name,
            on_change=self.said.append,
            uniform=random.Random(seed).uniform,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        )
        self.task = asyncio.create_task(self.election.run(self._lead))

    async def _lead(self) -> None:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        try:
            await asyncio.sleep(FOREVER_S)
        finally:
            self.terms.append((began_s, now_s()))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def until(condition: Any, within_s: float) -> float:
    """Returns when it is true, and how long that took."""
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    while not condition():
        assert now_s() - began_s <= within_s, f"not within {within_s:g} s"
        await asyncio.sleep(0.05)
    return now_s() - began_s


def holder(store: Store) -> str:
    return str(store.get()["spec"]["holderIdentity"])


def test_the_first_takes_the_lease_and_the_second_waits_for_as_long_as_it_is_renewed() -> None:
    async def scene() -> None:
        store = Store()
        first = Replica("first", Link(store))
        await until(lambda: first.election.leads, 1)
        second = Replica("second", Link(store))
        await asyncio.sleep(300)
        assert first.election.leads and not second.election.leads
        assert store.get()["spec"]["leaseTransitions"] == 0
        await first.stop()
        await second.stop()

    virtual_time.run(scene())


def test_one_that_stops_gives_the_lease_back_and_the_next_need_not_wait_for_its_end() -> None:
    async def scene() -> None:
        store = Store()
        first = Replica("first", Link(store))
        await until(lambda: first.election.leads, 1)
        second = Replica("second", Link(store))
        await asyncio.sleep(10)
        await first.stop()
        assert holder(store) == ""
        assert await until(lambda: second.election.leads, 60) < 2.5 * RETRY_S
        assert store.get()["spec"]["leaseTransitions"] == 1
        await second.stop()
        assert first.terms[0][1] <= second.terms[0][0]

    virtual_time.run(scene())


def test_one_that_vanishes_is_followed_after_its_lease() -> None:
    async def scene() -> None:
        store = Store()
        first = Replica("first", Link(store))
        await until(lambda: first.election.leads, 1)
        second = Replica("second", Link(store))
        await asyncio.sleep(10)
        first.link.troubles = [Trouble(0, FOREVER_S, "cut")]
        took_s = await until(lambda: second.election.leads, 60)
        assert LEASE_S - RETRY_S - 1 < took_s < LEASE_S + 2.5 * RETRY_S
        assert not first.election.leads
        assert took_s - (first.terms[0][1] - 10) > 0
        await first.stop()
        await second.stop()

    virtual_time.run(scene())


@pytest.mark.parametrize("kind", ["cut", "deaf", "fail"])
def test_one_that_cannot_renew_stops_before_anybody_may_follow(kind: str) -> None:
    async def scene() -> None:
        store = Store()
        only = Replica("only", Link(store))
        await until(lambda: only.election.leads, 1)
        await asyncio.sleep(20)
        only.link.troubles = [Trouble(0, FOREVER_S, kind)]
        # A renewal that was done and not answered counts for others; for us it counts from the last that was answered.
        took_s = await until(lambda: not only.election.leads, 60)
        assert took_s <= RENEW_S + 0.1
        await only.stop()

    virtual_time.run(scene())


def test_a_short_trouble_costs_no_leadership() -> None:
    async def scene() -> None:
        store = Store()
        only = Replica("only", Link(store, troubles=[Trouble(20, 4, "fail"), Trouble(60, 4, "deaf")]))
        await asyncio.sleep(120)
        assert only.said == [True], "it led once, and all the time"
        await only.stop()

    virtual_time.run(scene())


def test_work_that_has_a_fault_ends_the_election_and_the_lease() -> None:
    async def broken() -> None:
        raise LookupError("ours")

    async def scene() -> None:
        store = Store()
        election = Election(Link(store), "meshctl", "meshctl-controller", "a")
        with pytest.raises(LookupError, match="ours"):
            await election.run(broken)
        assert holder(store) == ""

    virtual_time.run(scene())


def test_others_clocks_do_not_matter() -> None:
    async def scene() -> None:
        store = Store()
        theirs = {"holderIdentity": "gone", "leaseDurationSeconds": 15, "renewTime": "1970-01-01T00:00:00.000000Z"}
        store.write("POST", {"metadata": {"name": "meshctl-controller"}, "spec": theirs})
        replica = Replica("a", Link(store))
        assert await until(lambda: replica.election.leads, 60) >= LEASE_S
        await replica.stop()

    virtual_time.run(scene())


troubles = st.lists(
    st.builds(Trouble, st.floats(0, 200), st.floats(0.1, 60), st.sampled_from(["cut", "deaf", "fail"])), max_size=6
)
lives = st.tuples(st.floats(0, 60), st.floats(20, 260))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(troubles, st.floats(0.0, 3.0), lives), min_size=2, max_size=4),
    st.integers(0, 2**16),
)
def test_never_two_lead_and_somebody_does_once_all_is_well(replicas: list[Any], seed: int) -> None:
    async def scene() -> None:
        store = Store()
        running: list[Replica] = []

        async def live(index: int, link: Link, begins_s: float, lasts_s: float) -> None:
            await asyncio.sleep(begins_s)
            replica = Replica(f"r{index}", link, seed + index)
            running.append(replica)
            await asyncio.sleep(lasts_s)
            await replica.stop()

        async with asyncio.TaskGroup() as tasks:
            for index, (bad, latency_s, (begins_s, lasts_s)) in enumerate(replicas):
                tasks.create_task(live(index, Link(store, latency_s, bad), begins_s, lasts_s))
        last = Replica("last", Link(store), seed)
        running.append(last)
        await until(lambda: last.election.leads, LEASE_S + 3 * RETRY_S)
        await last.stop()
        terms = sorted(term for replica in running for term in replica.terms)
        for (_, ended_s), (began_s, _) in pairwise(terms):
            assert ended_s <= began_s, f"two led: {terms}"

    virtual_time.run(scene())
