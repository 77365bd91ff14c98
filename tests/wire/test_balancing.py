"""The four balancers, at the wire: who gets which share of the calls."""

from __future__ import annotations

from collections import Counter

import pytest

from proxy.discovery import EndpointAddress
from tests.wire.conftest import MeshOf
from tests.wire.harness import Mesh, address
from tests.wire.peers import Client, echo


def one_call(mesh: Mesh, client: Client, delays_s: dict[int, float] | None = None, failing: int = 0) -> int:
    """Make one call and answer it (after its endpoint's delay); returns the endpoint's number."""
    before = {id(server): len(server.streams) for server in mesh.servers}
    client.call()
    mesh.run()
    (server,) = [s for s in mesh.servers if len(s.streams) > before[id(s)]]
    number = int(mesh.of_server[id(server)].host.rsplit(".")[-1])
    mesh.advance((delays_s or {}).get(number, 0.001))
    if number == failing:
        server.respond(server.last, trailers=[(b"grpc-status", b"14")])
    else:
        echo(server, server.last)
    mesh.run()
    return number


def test_round_robin_takes_turns(mesh_of: MeshOf) -> None:
    mesh = mesh_of(3, balancer="round_robin")
    client = mesh.client()
    order = [one_call(mesh, client) for _ in range(12)]
    assert order == order[:3] * 4 and sorted(order[:3]) == [1, 2, 3]


def test_weighted_round_robin_is_exact_and_smooth(mesh_of: MeshOf) -> None:
    mesh = mesh_of([address(1, 5), address(2, 1), address(3, 1)], balancer="round_robin")
    client = mesh.client()
    order = [one_call(mesh, client) for _ in range(14)]
    assert Counter(order) == {1: 10, 2: 2, 3: 2}
    assert [1] * 5 not in [order[n : n + 5] for n in range(10)]


@pytest.mark.parametrize("balancer", ["random", "least_request", "peak_ewma"])
def test_weights_are_shares(mesh_of: MeshOf, balancer: str) -> None:
    mesh = mesh_of([address(1, 3), address(2, 1)], balancer=balancer)
    client = mesh.client()
    counts = Counter(one_call(mesh, client) for _ in range(400))
    assert counts[1] > 1.8 * counts[2] and counts[2] > 40


@pytest.mark.parametrize("balancer", ["random", "least_request", "peak_ewma", "round_robin"])
def test_equal_endpoints_get_equal_shares(mesh_of: MeshOf, balancer: str) -> None:
    mesh = mesh_of(3, balancer=balancer)
    client = mesh.client()
    counts = Counter(one_call(mesh, client) for _ in range(300))
    assert all(60 < counts[number] < 140 for number in (1, 2, 3))


def test_a_changed_weight_takes_effect(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2, balancer="round_robin")
    client = mesh.client()
    mesh.update("add", address(1, 3))
    assert Counter(one_call(mesh, client) for _ in range(8)) == {1: 6, 2: 2}
    assert len(mesh.servers) == 2


def test_least_request_avoids_the_busy_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2, balancer="least_request")
    client = mesh.client()
    for _ in range(20):
        client.call()
    mesh.run()
    assert sorted(len(server.streams) for server in mesh.servers) == [10, 10]


def test_peak_ewma_prefers_the_fast_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(3, balancer="peak_ewma")
    client = mesh.client()
    delays_s = {1: 0.2, 2: 0.01, 3: 0.01}
    counts = Counter(one_call(mesh, client, delays_s) for _ in range(300))
    assert counts[1] < 0.05 * 300 < counts[2]
    assert mesh.endpoint(1).ewma_s > mesh.endpoint(2).ewma_s


def test_a_sample_above_the_average_replaces_it_and_idleness_decays_it(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, balancer="peak_ewma", decay_s=10.0)
    client = mesh.client()
    endpoint = mesh.endpoint(1)
    assert endpoint.ewma_s == pytest.approx(0.03)
    one_call(mesh, client, {1: 2.0})
    assert endpoint.ewma_s == pytest.approx(2.0, rel=0.01)
    mesh.advance(10.0)
    assert endpoint.ewma_s == pytest.approx(2.0 / 2.71828, rel=0.01)


def test_a_failing_endpoint_is_penalised_however_fast_it_fails(mesh_of: MeshOf) -> None:
    mesh = mesh_of(3, balancer="peak_ewma")
    client = mesh.client()
    delays_s = {1: 0.0001, 2: 0.01, 3: 0.01}
    counts = Counter(one_call(mesh, client, delays_s, failing=1) for _ in range(300))
    assert counts[1] < 0.05 * 300
    assert mesh.endpoint(1).failures == counts[1] > 0


def test_a_call_that_hangs_is_held_against_its_endpoint_at_once(mesh_of: MeshOf) -> None:
    """Calls in flight count: no answer is needed to see that an endpoint is stuck."""
    mesh = mesh_of(2, balancer="peak_ewma")
    client = mesh.client()
    mesh.servers[1].on_request = echo
    for _ in range(40):
        client.call()
        mesh.advance(0.01)
    assert len(mesh.servers[0].streams) < 8


def test_a_new_endpoint_starts_at_its_peers_median(mesh_of: MeshOf) -> None:
    mesh = mesh_of(3, balancer="peak_ewma")
    client = mesh.client()
    while not all(mesh.endpoint(number).calls for number in (1, 2, 3)):
        client.call()
        mesh.run()
    for delay_s, server in zip((0.1, 0.1, 0.3), mesh.servers, strict=True):
        mesh.advance(delay_s)
        for stream in list(server.streams):
            echo(server, stream)
        mesh.run()
    costs = sorted(mesh.endpoint(number).ewma_s for number in (1, 2, 3))
    mesh.update("add", address(4))
    assert mesh.endpoint(4).ewma_s == pytest.approx(costs[1], rel=0.01)


def test_ipv6_endpoints_are_shown_in_brackets(mesh_of: MeshOf) -> None:
    mesh = mesh_of([EndpointAddress("::1", 7000)])
    assert mesh.cluster.endpoints[0].address == "[::1]:7000"
