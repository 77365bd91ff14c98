"""Clusters for what is called: looked up by authority, then by the address that was dialled (semantics: 10, 12)."""

from __future__ import annotations

from typing import cast

import pytest

from proxy.dataplane import Http1Downstream, Origin, Relay
from tests.wire.conftest import MeshOf, PlainOf
from tests.wire.demand_world import DIALLED, DemandWorld, answered
from tests.wire.peers import echo
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

IDLE_S = 600


@pytest.fixture
def world(mesh_of: MeshOf) -> DemandWorld:
    return DemandWorld(mesh_of(0, serve=echo))


def test_the_first_call_waits_for_the_answer_and_then_goes_there(world: DemandWorld) -> None:
    client = world.client()
    streams = [world.call(client) for _ in range(5)]
    assert world.directory.followed == ["voting:8080"] and not world.mesh.servers
    world.told("voting:8080", 1, 2)
    assert all(answered(client, stream) for stream in streams)
    assert world.went_to() <= {"10.0.0.1", "10.0.0.2"}
    assert world.demand.waiting == 0


def test_calls_are_spread_over_all_endpoints_whichever_was_dialled(world: DemandWorld) -> None:
    one, other = world.client("10.0.0.1:50051"), world.client("10.0.0.2:50051")
    world.call(one)
    world.told("voting:8080", 1, 2, 3)
    for client in (one, other) * 10:
        world.call(client)
    assert world.went_to() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert world.directory.followed == ["voting:8080"]


def test_what_the_directory_does_not_know_by_name_is_looked_up_by_address(world: DemandWorld) -> None:
    client = world.client()
    stream = world.call(client, "anything.example")
    world.not_mine("anything.example")
    assert world.directory.followed == ["anything.example", DIALLED] and not answered(client, stream)
    world.told(DIALLED, 4)
    assert answered(client, stream) and world.went_to() == {"10.0.0.4"}


def test_what_it_does_not_know_at_all_goes_where_it_was_going(world: DemandWorld) -> None:
    client = world.client()
    streams = [world.call(client, "api.example"), world.call(client, "api.example")]
    world.not_mine("api.example")
    world.not_mine(DIALLED)
    assert all(answered(client, stream) for stream in streams)
    assert world.went_to() == {"10.9.0.1"}
    assert answered(client, world.call(client, "api.example"))
    assert len(world.directory.followed) == 2


def test_a_silent_directory_holds_nothing_up_for_long(world: DemandWorld) -> None:
    client = world.client()
    stream = world.call(client)
    world.mesh.advance(0.9)
    assert not answered(client, stream)
    world.mesh.advance(0.2)
    assert answered(client, stream) and world.went_to() == {"10.9.0.1"} and world.demand.timeouts == 1
    assert answered(client, world.call(client)), "the next one does not wait"
    world.told("voting:8080", 1)
    assert answered(client, world.call(client)) and world.went_to() == {"10.9.0.1", "10.0.0.1"}


def test_without_a_dialled_address_an_unknown_name_has_no_route(world: DemandWorld) -> None:
    client = world.client("")
    waiting = world.call(client, "nobody")
    world.not_mine("nobody")
    assert client[waiting].get("grpc-status") == "14"
    assert client[world.call(client, "nobody")].get("grpc-status") == "14"


def test_a_service_without_endpoints_is_not_gone_past(world: DemandWorld) -> None:
    client = world.client()
    stream = world.call(client)
    world.told("voting:8080")
    world.mesh.advance(3.5)
    assert client[stream].get("grpc-status") == "14" and not world.went_to()
    world.told("voting:8080", 2)
    assert answered(client, world.call(client))


def test_endpoints_come_and_go_as_the_directory_says(world: DemandWorld) -> None:
    client = world.client()
    world.call(client)
    world.told("voting:8080", 1)
    world.told("voting:8080", 2)
    before = world.mesh.servers_of(1)[0].last
    for _ in range(4):
        assert answered(client, world.call(client))
    assert world.mesh.servers_of(1)[0].last == before and world.mesh.servers_of(2)[0].streams


def test_a_deleted_service_is_gone_past_and_comes_back(world: DemandWorld) -> None:
    client = world.client()
    world.call(client)
    world.told("voting:8080", 1)
    world.not_mine("voting:8080")
    stream = world.call(client)
    world.not_mine(DIALLED)
    assert answered(client, stream) and "10.9.0.1" in world.went_to()
    world.told("voting:8080", 3)
    assert answered(client, world.call(client)) and "10.0.0.3" in world.went_to()


def test_a_call_that_waits_in_a_service_that_is_deleted_ends_at_once_unprocessed(world: DemandWorld) -> None:
    client = world.client()
    stream = world.call(client)
    world.told("voting:8080")
    world.mesh.advance(1)
    assert not client[stream].order
    world.not_mine("voting:8080")
    assert client[stream].get("grpc-status") == "14" and client[stream].get("x-mesh-error") == "no_endpoint"
    assert not world.went_to(), "where it was going is an address that the Service took along"


def test_case_and_protocol_make_no_second_name(world: DemandWorld) -> None:
    client = world.client()
    world.call(client, "Voting:8080")
    world.call(client, "voting:8080")
    assert world.directory.followed == ["voting:8080"]


@pytest.mark.parametrize("authority", ["", "a b", "x" * 300, "ä", "a\u007f"])
def test_what_cannot_be_a_name_is_not_asked_for(world: DemandWorld, authority: str) -> None:
    assert world.demand.way(authority, "", "http2") is None and not world.directory.followed


def test_raw_tcp_goes_by_its_address_alone(world: DemandWorld) -> None:
    way = world.demand.way("voting.example", DIALLED, "tcp")
    assert world.directory.followed == [DIALLED] and way is not None
    assert not world.demand.is_tcp(DIALLED)
    world.told(DIALLED, 1, protocol="tcp")
    assert world.demand.is_tcp(DIALLED)
    lane = world.demand.way("voting.example", DIALLED, "tcp")
    assert lane is not None and lane.protocol == "tcp" and [e.host for e in lane.endpoints] == ["10.0.0.1"]


def test_names_that_nobody_calls_are_forgotten(world: DemandWorld) -> None:
    client = world.client()
    world.call(client)
    world.told("voting:8080", 1)
    world.call(client, "api.example")
    world.not_mine("api.example")
    world.not_mine(DIALLED)
    for _ in range(2):
        world.mesh.advance(IDLE_S)
        world.demand.sweep()
        world.call(client)
    assert set(world.directory.forgotten) == {"api.example", DIALLED}
    assert world.demand.counts() == {"known": 1, "unknown": 0, "unanswered": 0}


def test_a_name_with_a_call_running_is_not_forgotten(world: DemandWorld) -> None:
    world.mesh.serve = None
    client = world.client()
    stream = world.call(client)
    world.told("voting:8080", 1)
    for _ in range(4):
        world.mesh.advance(IDLE_S)
        world.demand.sweep()
    assert not world.directory.forgotten
    echo(world.mesh.servers[-1], world.mesh.servers[-1].last)
    world.mesh.run()
    assert answered(client, stream)
    for _ in range(2):
        world.mesh.advance(IDLE_S)
        world.demand.sweep()
    assert world.directory.forgotten == ["voting:8080"]
    again = world.call(client)
    assert world.directory.followed == ["voting:8080"] * 2
    world.mesh.serve = echo
    world.told("voting:8080", 1)
    assert answered(client, again)


def test_a_call_that_is_cancelled_while_it_waits_is_over(world: DemandWorld) -> None:
    client = world.client()
    stream = world.call(client)
    client.reset(stream, 8)
    world.mesh.run()
    world.told("voting:8080", 1)
    assert not world.mesh.servers_of(1)[0].streams and world.mesh.plane.calls == 0


def test_closing_ends_the_calls_that_wait(world: DemandWorld) -> None:
    client = world.client()
    stream = world.call(client)
    world.demand.close()
    world.mesh.run()
    assert client[stream].get("grpc-status") == "14"


# ---- HTTP/1.x and TCP ----

GET = b"GET / HTTP/1.1\r\nHost: voting:8080\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def plain(plain_of: PlainOf) -> DemandWorld:
    return DemandWorld(plain_of(0, serve=lambda socket: socket.send(OK)))


def connect(world: DemandWorld, protocol: str) -> Socket:
    """A client of `DIALLED` that has sent its request."""
    mesh = cast(PlainMesh, world.mesh)
    origin = Origin("outbound", DIALLED)
    if protocol == "http1":
        client = mesh.accept(Http1Downstream(mesh.router, origin))
    else:
        relay = Relay(mesh.router, origin)
        client = mesh.accept(relay.connection())
        relay.begin()
    client.send(GET)
    mesh.run()
    return client


@pytest.mark.parametrize(("protocol", "name"), [("http1", "voting:8080"), ("tcp", DIALLED)])
class TestPlain:
    def test_the_first_call_waits_for_the_answer(self, plain: DemandWorld, protocol: str, name: str) -> None:
        client = connect(plain, protocol)
        assert plain.directory.followed == [name] and not client.received
        plain.told(name, 1)
        assert client.received == OK
        assert cast(PlainMesh, plain.mesh).servers_at(1)

    def test_a_client_that_leaves_while_it_waits_takes_its_call_along(
        self, plain: DemandWorld, protocol: str, name: str
    ) -> None:
        client = connect(plain, protocol)
        client.reset()
        plain.mesh.run()
        plain.told(name, 1)
        assert not cast(PlainMesh, plain.mesh).sockets and plain.mesh.plane.calls == 0

    def test_nobody_answers(self, plain: DemandWorld, protocol: str, name: str) -> None:
        client = connect(plain, protocol)
        assert plain.directory.followed == [name]
        plain.mesh.advance(1.1)
        assert client.received == OK
        (server,) = cast(PlainMesh, plain.mesh).sockets
        assert plain.mesh.of_server[id(server)].host == "10.9.0.1"
