"""Semantics 5: GOAWAY received from an endpoint, and sent to a client on drain."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.harness import address
from tests.wire.messages import OK_HEADERS, OK_TRAILERS, message
from tests.wire.peers import echo

# ---- received ----


def test_no_new_calls_after_goaway_and_a_replacement_is_dialled_at_once(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    running = client.call()
    mesh.run()
    (old,) = mesh.servers
    old.goaway(old.last)
    mesh.run()
    assert len(mesh.servers) == 2
    later = client.call()
    mesh.run()
    new = mesh.servers[1]
    assert len(old.streams) == 1 and len(new.streams) == 1
    echo(old, old.last)
    echo(new, new.last)
    mesh.run()
    assert client[running].get("grpc-status") == client[later].get("grpc-status") == "0"


def test_streams_up_to_the_last_id_finish_and_then_the_connection_closes(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    streams = [client.call(data=message(b"%d" % n), end=False) for n in range(3)]
    mesh.run()
    old = mesh.servers[0]
    old.on_request = echo
    old.goaway(old.last)
    mesh.run()
    for stream in streams:
        assert not old.closed
        client.send(stream, message(b"more"), end=True)
        mesh.run()
    assert [client[s].data for s in streams] == [message(b"%d" % n) + message(b"more") for n in range(3)]
    assert old.closed
    assert mesh.outcomes() == {("success", 200, 0, ""): 3}


def test_goaway_is_graceful_in_two_steps(mesh_of: MeshOf) -> None:
    """2^31-1 first, then a lower id: what is above it is retried, what is below it finishes."""
    mesh = mesh_of(1)
    client = mesh.client()
    streams = [client.call() for _ in range(2)]
    mesh.run()
    old = mesh.servers[0]
    old.goaway(2**31 - 1)
    mesh.run()
    assert len(mesh.servers) == 2 and not mesh.servers[1].streams
    old.goaway(1)
    mesh.run()
    new = mesh.servers[1]
    assert len(new.streams) == 1
    echo(old, 1)
    echo(new, new.last)
    mesh.run()
    assert [client[s].get("grpc-status") for s in streams] == ["0", "0"]
    assert old.closed


def test_goaway_does_not_count_against_the_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2, balancer="peak_ewma")
    client = mesh.client()
    client.call()
    mesh.run()
    server = next(s for s in mesh.servers if s.streams)
    endpoint = mesh.of_server[id(server)]
    before = endpoint.ewma_s
    server.goaway(0)
    mesh.run()
    assert endpoint.ewma_s == before
    assert (endpoint.failures, endpoint.connect_failures) == (0, 0)
    assert endpoint.state == "ready" and endpoint.in_flight == 0


def test_an_idle_connection_that_says_goaway_is_closed_and_replaced(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    mesh.servers[0].goaway(0)
    mesh.run()
    assert mesh.servers[0].closed and len(mesh.servers) == 2
    assert mesh.endpoint(1).connections == 1


def test_what_goaway_promised_has_all_the_time_it_takes(mesh_of: MeshOf) -> None:
    """Servers say GOAWAY to connections of a certain age; a stream that lasts for hours goes on, as without us."""
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(end=False)
    mesh.run()
    old = mesh.servers[0]
    old.h2.send_headers(1, OK_HEADERS)
    old.goaway(old.last)
    mesh.advance(3600)
    assert not old.closed and not client[stream].over
    old.send(1, message(b"news"), OK_TRAILERS)
    client.send(stream, end=True)
    mesh.run()
    assert client[stream].data == message(b"news") and client[stream].get("grpc-status") == "0"
    assert old.closed


@pytest.mark.parametrize("said_first", [True, False])
def test_the_grace_period_of_a_removed_endpoint_holds_after_goaway_too(mesh_of: MeshOf, said_first: bool) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    old = mesh.servers[0]
    if said_first:
        old.goaway(old.last)
        mesh.advance(20)
    mesh.update("remove", address(1))
    if not said_first:
        mesh.advance(0.5)
        old.goaway(old.last)
    mesh.advance(29)
    assert not old.closed and not client[stream].over
    mesh.advance(2)
    assert old.closed and client[stream].over


def test_half_a_header_on_a_connection_that_takes_no_new_calls_is_still_due(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    old = mesh.servers[0]
    old.goaway(old.last)
    mesh.run()
    old.send_frame_bytes(b"\0\0\x20\1\4\0\0\0\1")
    mesh.advance(11)
    assert old.closed and client[stream].over


# ---- sent ----


def test_drain_sends_two_goaways_with_a_ping_between(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    running = client.call()
    mesh.run()
    client.frames.clear()
    mesh.session(client).drain()
    late = client.call()  # sent before the client has seen the GOAWAY
    mesh.link(client).from_proxy()
    assert client.goaways == [(2**31 - 1, 0)]
    assert [f.kind for f in client.frames] == ["GoAwayFrame", "PingFrame"]
    mesh.run()
    assert client.goaways == [(2**31 - 1, 0), (late, 0)]
    assert len(mesh.servers[0].streams) == 2
    assert not client.closed
    for stream in list(mesh.servers[0].streams):
        echo(mesh.servers[0], stream)
    mesh.run()
    assert client[running].get("grpc-status") == client[late].get("grpc-status") == "0"
    assert client.closed


def test_a_draining_connection_closes_when_its_last_stream_ends(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(end=False)
    mesh.run()
    mesh.session(client).drain()
    mesh.advance(25)
    assert not client.closed and not client[stream].over
    server = mesh.servers[0]
    server.h2.send_headers(server.last, OK_HEADERS)
    client.send(stream, message(b"last words"), end=True)
    mesh.run()
    server.send(server.last, message(b"goodbye"), OK_TRAILERS)
    mesh.run()
    assert server.streams[server.last].data == message(b"last words")
    assert client[stream].data == message(b"goodbye") and client[stream].ended
    assert client.closed and mesh.plane.downstream_connections == 0


def test_an_idle_connection_closes_on_drain(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    mesh.session(client).drain()
    mesh.session(client).drain()
    mesh.run()
    assert client.closed and client.goaways == [(2**31 - 1, 0), (stream, 0)]


def test_a_stream_after_the_last_goaway_is_not_processed(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call()
    mesh.run()
    mesh.session(client).drain()
    mesh.run()
    client.call()
    mesh.run()
    assert len(mesh.servers[0].streams) == 1 and not client.closed
