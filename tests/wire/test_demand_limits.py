"""What calling ever new names may cost, and where calls are counted whose place is not known (semantics: 9, 12)."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType

import pytest

from proxy.dataplane import Cluster
from proxy.demand import MOST_NAMES, NAMES_AT_ONCE, NAMES_PER_S
from proxy.discovery.directory import Answer
from tests.wire.conftest import MeshOf
from tests.wire.demand_world import DIALLED, DemandWorld, answered
from tests.wire.peers import echo


@pytest.fixture
def world(mesh_of: MeshOf) -> DemandWorld:
    return DemandWorld(mesh_of(0, serve=echo))


def call_new_names(world: DemandWorld, count: int, answer: bool = True) -> int:
    """So many calls, each of a name of its own. Returns how many were looked up."""
    before = len(world.directory.followed)
    for number in range(count):
        name = f"host-{before + number}"
        world.demand.way(name, "", "http2")
        if answer:
            world.not_mine(name)
    return len(world.directory.followed) - before


def test_new_names_are_looked_up_only_so_fast(world: DemandWorld) -> None:
    assert call_new_names(world, NAMES_AT_ONCE + 50) == NAMES_AT_ONCE
    world.mesh.advance(1)
    assert call_new_names(world, NAMES_AT_ONCE) == NAMES_PER_S
    assert world.demand.unasked == 50 + NAMES_AT_ONCE - NAMES_PER_S


def test_an_answer_costs_nothing_for_the_calls_that_wait_for_others(world: DemandWorld) -> None:
    names = [f"host-{number}.example:80" for number in range(500)]
    for name in names:
        world.demand.way(name, DIALLED, "http2")
    looked_at = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal looked_at
        looked_at += event == "call" and frame.f_code.co_name == "_decisive"

    sys.setprofile(count)
    try:
        for name in (*names, DIALLED):
            world.demand.told(name, None)
    finally:
        sys.setprofile(None)
    assert world.demand.waiting == len(world.demand._waiting) == 0
    assert looked_at <= 3 * len(names)


def test_a_name_that_came_too_fast_goes_where_it_was_going_and_is_looked_up_later(world: DemandWorld) -> None:
    call_new_names(world, NAMES_AT_ONCE)
    client = world.client()
    assert answered(client, world.call(client)) and world.went_to() == {"10.9.0.1"}
    world.mesh.advance(1)
    world.demand.sweep()
    stream = world.call(client)
    world.told("voting:8080", 1)
    assert answered(client, stream) and world.went_to() == {"10.9.0.1", "10.0.0.1"}


@pytest.mark.parametrize("answer", [True, False], ids=["answered", "silent"])
def test_there_are_only_so_many_names_and_those_that_lead_somewhere_stay(world: DemandWorld, answer: bool) -> None:
    client = world.client()
    world.call(client, "kept:80")
    world.told("kept:80", 1)
    for _ in range(MOST_NAMES // NAMES_AT_ONCE + 1):
        call_new_names(world, NAMES_AT_ONCE, answer)
        world.mesh.advance(NAMES_AT_ONCE / NAMES_PER_S)
    assert sum(world.demand.counts().values()) == MOST_NAMES
    assert world.directory.forgotten == world.directory.followed[1 : len(world.directory.forgotten) + 1]
    assert answered(client, world.call(client, "kept:80"))


def test_names_that_all_lead_somewhere_make_no_room_for_another(world: DemandWorld) -> None:
    for number in range(MOST_NAMES):
        world.demand.way(f"service-{number}", "", "http2")
        world.demand.told(f"service-{number}", Answer(()))
        world.mesh.advance(1 / NAMES_PER_S)
    world.demand.way("another", "", "http2")
    assert not world.directory.forgotten and "another" not in world.directory.followed
    world.not_mine("service-7")
    world.demand.way("another", "", "http2")
    assert world.directory.forgotten == ["service-7"] and world.directory.followed[-1] == "another"


def test_calls_that_have_waited_are_not_turned_away_at_their_cluster(world: DemandWorld) -> None:
    clients = [world.client(f"10.0.0.{number}:8080") for number in range(1, 5)]
    streams = [(client, world.call(client)) for client in clients for _ in range(60)]
    assert world.demand.waiting == len(streams)
    world.told("voting:8080", 1, 2)
    assert all(answered(client, stream) for client, stream in streams)


def test_new_names_do_not_make_the_router_forget_the_others(world: DemandWorld) -> None:
    client = world.client()
    world.call(client)
    world.told("voting:8080", 1)
    world.mesh.advance(1)
    world.demand.sweep()
    world.call(client)
    asked, route = [], world.demand.way
    world.demand.way = lambda *call: asked.append(call[0]) or route(*call)  # type: ignore[method-assign,func-returns-value]
    for number in range(20):
        world.call(client, f"host-{number}")
        world.not_mine(f"host-{number}")
        world.call(client)
    assert "voting:8080" not in asked


# ---- what is counted ----


def counted(world: DemandWorld) -> Counter[str]:
    """Calls that have ended, by cluster, of those counters that a scrape sees."""
    found: Counter[str] = Counter()
    for stats in [*world.mesh.plane.call_stats(), *world.mesh.router.call_stats()]:
        found[stats.cluster] += stats.ended
    return +found


def test_a_call_that_ends_before_its_place_is_known_is_counted_without_a_cluster(world: DemandWorld) -> None:
    client = world.client()
    client.reset(world.call(client), 8)
    world.mesh.run()
    assert counted(world) == {"": 1} and not world.mesh.plane.call_stats()
    world.told("voting:8080", 1)
    assert answered(client, world.call(client))
    assert counted(world) == {"": 1, "voting:8080": 1}


def test_a_call_that_is_given_up_with_its_cluster_is_counted(world: DemandWorld) -> None:
    nowhere, client = world.client(""), world.client()
    waiting, called = world.call(nowhere, "nobody"), world.call(client)
    world.not_mine("nobody")
    world.told("voting:8080")
    world.not_mine("voting:8080")
    assert (nowhere[waiting].get("grpc-status"), client[called].get("grpc-status")) == ("14", "14")
    assert counted(world) == {"": 2}


def test_a_name_that_a_configured_cluster_has_too_takes_nothing_from_it(world: DemandWorld) -> None:
    configured = Cluster(world.mesh.plane, "voting")
    client = world.client()
    world.call(client, "voting")
    world.told("voting", 1)
    assert world.mesh.plane.clusters["voting"] is configured and "voting+" in world.mesh.plane.clusters
    world.not_mine("voting")
    assert world.mesh.plane.clusters["voting"] is configured and "voting+" not in world.mesh.plane.clusters
