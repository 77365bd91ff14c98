"""Semantics 12 and 2: endpoints that come, go and fail; failfast and the pending limit."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.harness import address
from tests.wire.messages import OK_HEADERS, OK_TRAILERS, message
from tests.wire.peers import echo


def test_an_added_endpoint_is_dialled_at_once_and_picked_when_ready(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    mesh.modes[f"{address(2).host}:50051"] = "hold"
    mesh.update("add", address(2))
    for _ in range(4):
        client.call()
    mesh.run()
    assert len(mesh.servers) == 1 and mesh.endpoint(2).state == "connecting"
    mesh.modes.clear()
    mesh.run()
    assert mesh.endpoint(2).state == "ready"
    for _ in range(4):
        client.call()
    mesh.run()
    assert [len(server.streams) for server in mesh.servers] == [6, 2]


def test_a_connection_takes_no_call_before_its_settings(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    mesh.plane.turn(mesh.cluster.reset, [address(1)])
    mesh.dial_one()
    stream = client.call()
    mesh.link(client).to_proxy()
    (server,) = mesh.servers
    mesh.link(server).from_proxy()
    assert mesh.endpoint(1).state == "connecting" and mesh.cluster.pending == 1 and not server.streams
    mesh.run()
    assert mesh.endpoint(1).state == "ready"
    echo(server, server.last)
    mesh.run()
    assert client[stream].get("grpc-status") == "0"


def test_a_removed_endpoint_gets_no_new_calls_and_finishes_those_that_run(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    streams = [client.call() for _ in range(2)]
    mesh.run()
    mesh.update("remove", address(1))
    (gone,) = mesh.servers_of(1)
    (stays,) = mesh.servers_of(2)
    assert mesh.endpoint(1).state == "draining" and not gone.closed
    later = [client.call() for _ in range(4)]
    mesh.run()
    assert (len(gone.streams), len(stays.streams)) == (1, 5)
    for server in (gone, stays):
        for stream in list(server.streams):
            echo(server, stream)
    mesh.run()
    assert gone.closed and [e.host for e in mesh.cluster.endpoints] == [address(2).host]
    assert all(client[s].get("grpc-status") == "0" for s in [*streams, *later])


@pytest.mark.parametrize("chatty", [False, True])
def test_a_removed_endpoints_calls_end_with_the_grace_period(mesh_of: MeshOf, chatty: bool) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(end=False)
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(1, OK_HEADERS)
    mesh.update("remove", address(1))
    for _ in range(29):
        if chatty:
            server.send(1, message(b"tick"))
        mesh.advance(1)
    assert not client[stream].over and not server.closed
    mesh.advance(2)
    assert client[stream].over and server.closed
    assert client[stream].get("grpc-status") == "14"


def test_an_idle_removed_endpoint_is_closed_at_once(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    mesh.update("reset", address(2))
    assert mesh.servers_of(1)[0].closed and not mesh.servers_of(2)[0].closed


def test_unchanged_endpoints_keep_their_connection_and_average(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2, serve=echo)
    mesh.endpoint(1).set_cost(0.5)
    mesh.update("reset", address(1), address(2), address(3))
    assert len(mesh.servers) == 3 and not any(server.closed for server in mesh.servers)
    assert mesh.endpoint(1).ewma_s == pytest.approx(0.5)


def test_the_same_address_with_another_uid_is_a_new_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of([address(1, uid="old")])
    client = mesh.client()
    running = client.call()
    mesh.run()
    mesh.update("reset", address(1, uid="new"))
    (old,), (new,) = mesh.servers_of(1, "old"), mesh.servers_of(1, "new")
    assert not old.closed
    later = client.call()
    mesh.run()
    assert (len(old.streams), len(new.streams)) == (1, 1)
    echo(old, 1)
    echo(new, 1)
    mesh.run()
    assert client[running].get("grpc-status") == client[later].get("grpc-status") == "0"
    assert old.closed and not new.closed


def test_removed_and_added_again_within_a_call(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    running = client.call()
    mesh.run()
    mesh.update("remove", address(1))
    mesh.update("add", address(1))
    later = client.call()
    mesh.run()
    old, new = mesh.servers_of(1)
    assert (len(old.streams), len(new.streams)) == (1, 1)
    echo(old, 1)
    echo(new, 1)
    mesh.run()
    assert client[running].get("grpc-status") == client[later].get("grpc-status") == "0"


def test_a_lost_connection_is_dialled_again(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    mesh.servers[0].close()
    mesh.run()
    assert len(mesh.servers) == 2 and mesh.endpoint(1).state == "ready"
    assert mesh.endpoint(1).connections == 1


# ---- pending and failfast ----


def test_calls_wait_for_the_first_endpoint_and_then_run(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0, serve=echo)
    client = mesh.client()
    streams = [client.call(data=message(b"%d" % n)) for n in range(5)]
    mesh.advance(2.9)
    assert mesh.cluster.pending == 5
    mesh.update("add", address(1))
    assert mesh.cluster.pending == 0
    assert [client[s].data for s in streams] == [message(b"%d" % n) for n in range(5)]


def test_failfast_after_three_seconds_and_at_once_afterwards(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0, serve=echo)
    client = mesh.client()
    first = client.call()
    mesh.advance(2.9)
    assert not client[first].over and not mesh.cluster.failfast
    mesh.advance(0.2)
    assert client[first].get("x-mesh-error") == "no_endpoint" and mesh.cluster.failfast
    at_once = client.call()
    mesh.run()
    assert client[at_once].get("x-mesh-error") == "no_endpoint"
    mesh.update("add", address(1))
    assert not mesh.cluster.failfast
    good = client.call()
    mesh.run()
    assert client[good].get("grpc-status") == "0"


def test_failfast_starts_anew_after_a_ready_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    mesh.update("reset")
    stream = client.call()
    mesh.advance(2.0)
    mesh.update("add", address(1))
    echo(mesh.servers[-1], mesh.servers[-1].last)
    mesh.update("reset")
    later = client.call()
    mesh.advance(2.0)
    assert client[stream].get("grpc-status") == "0" and not client[later].over
    mesh.advance(1.1)
    assert client[later].get("grpc-status") == "14"


def test_the_pending_queue_is_bounded(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    streams = [client.call() for _ in range(100)]
    mesh.run()
    other = mesh.client()
    over = other.call()
    mesh.run()
    assert other[over].get("x-mesh-error") == "overloaded" and other[over].get("grpc-status") == "14"
    assert mesh.cluster.pending == 100 and not any(client[s].over for s in streams)


def test_a_service_without_endpoints_and_an_unknown_one_say_so(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    said = []
    for update in ("reset", "does_not_exist"):
        mesh.plane.turn(getattr(mesh.cluster, update), *([()] if update == "reset" else []))
        stream = client.call()
        mesh.advance(3.1)
        said.append(client[stream].get("grpc-message"))
    assert said[0] != said[1] and mesh.cluster.exists is False


def test_a_refused_connect_is_counted_and_named(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    mesh.modes["10.0.0.1:50051"] = "refuse"
    mesh.servers[0].close()
    mesh.run()
    assert mesh.endpoint(1).state == "backoff" and mesh.endpoint(1).connect_failures == 1
    client = mesh.client()
    stream = client.call()
    mesh.advance(3.1)
    assert client[stream].get("x-mesh-error") == "connect_failed"
    mesh.modes.clear()
    mesh.redial()
    good = client.call()
    mesh.run()
    mesh.servers[-1].respond(1, trailers=OK_TRAILERS)
    mesh.run()
    assert client[good].get("grpc-status") == "0"


def test_one_dead_endpoint_of_two_fails_no_new_call(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2, serve=echo)
    client = mesh.client()
    mesh.modes["10.0.0.1:50051"] = "refuse"
    mesh.servers_of(1)[0].close()
    mesh.run()
    streams = [client.call() for _ in range(10)]
    mesh.run()
    assert all(client[s].get("grpc-status") == "0" for s in streams)
