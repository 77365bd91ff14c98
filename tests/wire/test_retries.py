"""Semantics 4: the retries a proxy may make by itself, and none but those."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.harness import Mesh
from tests.wire.messages import OK_HEADERS, message, request_headers
from tests.wire.peers import Server, echo

REPLAY_BYTES = 32 * 1024


def only_busy(mesh: Mesh, but: Server | None = None) -> Server:
    """The one server that has a stream (besides `but`)."""
    (server,) = [server for server in mesh.servers if server.streams and server is not but]
    return server


def test_refused_stream_is_tried_once_on_another_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    body = message(b"keep me")
    stream = client.call(request_headers(), body, trailers=[(b"x-request-trailer", b"t")])
    mesh.run()
    first = only_busy(mesh)
    first.reset(first.last, 7)
    mesh.run()
    second = only_busy(mesh, first)
    assert second.streams[1].data == body and second.streams[1].headers == first.streams[1].headers
    assert second.streams[1].trailers == [(b"x-request-trailer", b"t")]
    echo(second, second.last)
    mesh.run()
    assert client[stream].get("grpc-status") == "0" and client[stream].data == body
    assert mesh.outcomes() == {("retried", 0, -1, "refused"): 1, ("success", 200, 0, ""): 1}


def test_a_second_refusal_is_answered_as_refused(mesh_of: MeshOf) -> None:
    mesh = mesh_of(3)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    first = only_busy(mesh)
    first.reset(first.last, 7)
    mesh.run()
    second = only_busy(mesh, first)
    second.reset(second.last, 7)
    mesh.run()
    assert client[stream].get("x-mesh-error") == "refused" and client[stream].get("grpc-status") == "14"
    assert sum(len(server.streams) for server in mesh.servers) == 2


def test_a_stream_above_goaway_is_tried_on_another_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    stream = client.call(data=message(b"x"))
    mesh.run()
    first = only_busy(mesh)
    first.goaway(0)
    mesh.run()
    second = only_busy(mesh, first)
    echo(second, second.last)
    mesh.run()
    assert client[stream].get("grpc-status") == "0" and client[stream].data == message(b"x")
    assert mesh.outcomes()["retried", 0, -1, "refused"] == 1


def test_the_retry_avoids_the_endpoint_that_refused(mesh_of: MeshOf) -> None:
    for balancer in ("peak_ewma", "least_request", "round_robin", "random"):
        mesh = mesh_of(2, balancer=balancer)
        client = mesh.client()
        for server in mesh.servers[:1]:
            server.on_request = lambda server, stream: server.reset(stream, 7)
        mesh.servers[1].on_request = echo
        streams = [client.call() for _ in range(20)]
        mesh.run()
        assert [client[s].get("grpc-status") for s in streams] == ["0"] * 20
        assert mesh.outcomes()["retried", 0, -1, "refused"] == len(mesh.servers[0].streams) > 0


@pytest.mark.parametrize(("size", "replayed"), [(REPLAY_BYTES, True), (REPLAY_BYTES + 1, False)])
def test_a_body_is_replayed_up_to_32_kib(mesh_of: MeshOf, size: int, replayed: bool) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    body = message(b"\0" * (size - 5))
    stream = client.call(data=body)
    mesh.run()
    first = only_busy(mesh)
    first.reset(first.last, 7)
    mesh.run()
    if replayed:
        second = only_busy(mesh, first)
        echo(second, second.last)
        mesh.run()
        assert client[stream].data == body and client[stream].get("grpc-status") == "0"
    else:
        assert client[stream].get("x-mesh-error") == "refused"
        assert len([server for server in mesh.servers if server.streams]) == 1


def test_a_body_still_arriving_goes_on_after_the_retry(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    stream = client.call(data=message(b"one"), end=False)
    mesh.run()
    first = only_busy(mesh)
    first.reset(first.last, 7)
    mesh.run()
    client.send(stream, message(b"two"), end=True)
    mesh.run()
    second = only_busy(mesh, first)
    assert second.streams[1].data == message(b"one") + message(b"two") and second.streams[1].ended


def test_a_request_that_never_left_is_tried_again_and_again(mesh_of: MeshOf) -> None:
    mesh = mesh_of(4, serve=echo)
    stuck = [mesh.link(server).transport for server in mesh.servers[:3]]
    client = mesh.client()
    for transport in stuck:
        transport.stalled = True
        transport.write(b"")  # the socket is full: what is submitted from here on does not leave the proxy
    streams = [client.call(data=message(b"%d" % n)) for n in range(8)]
    mesh.run()
    for transport in stuck:
        mesh.modes[transport.protocol.target.address] = "refuse"
        transport.end()
        mesh.run()
    assert [client[s].data for s in streams] == [message(b"%d" % n) for n in range(8)]
    assert [client[s].get("grpc-status") for s in streams] == ["0"] * 8
    assert {outcome[0] for outcome in mesh.outcomes()} == {"retried", "success"}


@pytest.mark.parametrize("headers_came", [False, True])
@pytest.mark.parametrize("how", ["lost", "internal", "cancel"])
def test_a_call_that_may_have_been_processed_is_not_repeated(mesh_of: MeshOf, headers_came: bool, how: str) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    stream = client.call(data=message(b"pay"))
    mesh.run()
    first = only_busy(mesh)
    if headers_came:
        first.h2.send_headers(first.last, OK_HEADERS)
    if how == "lost":
        first.close()
    else:
        first.reset(first.last, {"internal": 2, "cancel": 8}[how])
    mesh.run()
    assert client[stream].over
    assert sum(len(server.streams) for server in mesh.servers) == 1


def test_refused_after_response_headers_is_not_repeated(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    first = only_busy(mesh)
    first.h2.send_headers(first.last, OK_HEADERS)
    first.reset(first.last, 7)
    mesh.run()
    assert client[stream].reset == 7
    assert sum(len(server.streams) for server in mesh.servers) == 1


def test_a_retry_still_keeps_the_deadline(mesh_of: MeshOf) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    stream = client.call(request_headers("a.B/C", (b"grpc-timeout", b"2S")))
    mesh.advance(1.5)
    first = only_busy(mesh)
    first.reset(first.last, 7)
    mesh.run()
    second = only_busy(mesh, first)
    assert second.streams[1].get("grpc-timeout") == "500000u"
    mesh.advance(0.51)
    assert client[stream].get("grpc-status") == "4"
    assert second.streams[1].reset == 8


def test_a_fault_on_a_stalled_connection_does_not_spin(mesh_of: MeshOf) -> None:
    """The codec has given the connection up while its socket is full: calls leave it, and are not tried there again."""
    mesh = mesh_of(1, serve=echo)
    transport = mesh.link(mesh.servers[0]).transport
    client = mesh.client()
    transport.stalled = True
    transport.write(b"")
    waiting = client.call()
    mesh.run()
    mesh.servers[0].goaway(4)  # no stream of ours can have an even number
    mesh.run()
    later = client.call()
    mesh.run()
    transport.stalled = False
    mesh.run()
    assert client[waiting].get("grpc-status") == client[later].get("grpc-status") == "0"
    assert mesh.servers[0].closed and len(mesh.servers) == 2
