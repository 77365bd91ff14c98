"""Semantics 6: half-close, early ends, resets and disconnects."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.messages import HTTP_GET, OK_HEADERS, OK_TRAILERS, message, request_headers
from tests.wire.peers import echo

CANCEL = 8


def test_the_client_half_closes_and_the_server_goes_on(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(data=message(b"all I have"))
    mesh.run()
    (server,) = mesh.servers
    assert server.streams[1].ended and not client[stream].over
    server.h2.send_headers(1, OK_HEADERS)
    for n in range(5):
        server.send(1, message(b"%d" % n))
        mesh.run()
    server.send(1, trailers=OK_TRAILERS)
    mesh.run()
    assert client[stream].data == b"".join(message(b"%d" % n) for n in range(5))
    assert client[stream].order[-2:] == ["trailers", "end"]


def test_the_client_goes_on_while_the_server_streams(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(end=False)
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(1, OK_HEADERS)
    for n in range(5):
        client.send(stream, message(b"ping %d" % n))
        mesh.run()
        assert server.streams[1].data.endswith(b"ping %d" % n)
        server.send(1, message(b"pong %d" % n))
        mesh.run()
        assert client[stream].data.endswith(b"pong %d" % n)
    assert not server.streams[1].ended and not client[stream].ended
    client.send(stream, end=True)
    mesh.run()
    assert server.streams[1].ended and not client[stream].ended
    server.send(1, trailers=OK_TRAILERS)
    mesh.run()
    assert client[stream].ended


def test_an_empty_data_frame_is_a_half_close(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    stream = client.call(data=message(b"x"), end=False)
    mesh.run()
    client.h2.send_data(stream, b"", end_stream=True)
    mesh.run()
    assert mesh.servers[0].streams[1].ended and client[stream].get("grpc-status") == "0"


def test_request_trailers_are_forwarded_after_the_body(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call(data=message(b"x" * 50_000), trailers=[(b"x-checksum", b"1"), (b"x-checksum", b"2")])
    mesh.run()
    record = mesh.servers[0].streams[1]
    assert record.data == message(b"x" * 50_000)
    assert record.trailers == [(b"x-checksum", b"1"), (b"x-checksum", b"2")]


def test_interim_responses_pass(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(1, [(b":status", b"103"), (b"link", b"</style.css>")])
    mesh.run()
    assert client[stream].interim == [[(b":status", b"103"), (b"link", b"</style.css>")]]
    echo(server, 1)
    mesh.run()
    assert client[stream].get("grpc-status") == "0"


@pytest.mark.parametrize("trailers_only", [False, True])
def test_a_server_that_finishes_early_is_heard_and_the_upload_stopped(mesh_of: MeshOf, trailers_only: bool) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(data=message(b"part"), end=False)
    mesh.run()
    (server,) = mesh.servers
    if trailers_only:
        server.h2.send_headers(1, [*OK_HEADERS, (b"grpc-status", b"7")], end_stream=True)
    else:
        server.respond(1, message(b"enough"), trailers=[(b"grpc-status", b"7")])
    mesh.run()
    order = ["headers", "end", "reset"] if trailers_only else ["headers", "data", "trailers", "end", "reset"]
    assert client[stream].order == order
    assert client[stream].get("grpc-status") == "7" and client[stream].reset == 0
    assert mesh.outcomes() == {("success", 200, 7, ""): 1}
    assert server.streams[1].reset is not None


def test_reset_no_error_after_a_complete_response_is_success(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(data=message(b"part"), end=False)
    mesh.run()
    (server,) = mesh.servers
    server.respond(1, message(b"enough"))
    server.reset(1, 0)
    mesh.run()
    assert client[stream].ended and client[stream].get("grpc-status") == "0"
    assert mesh.outcomes() == {("success", 200, 0, ""): 1}


# ---- the client leaves ----


@pytest.mark.parametrize("headers_came", [False, True])
@pytest.mark.parametrize("how", ["reset", "disconnect"])
def test_a_client_that_leaves_reaches_the_server_in_the_same_turn(
    mesh_of: MeshOf, how: str, headers_came: bool
) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(end=False)
    mesh.run()
    (server,) = mesh.servers
    if headers_came:
        server.h2.send_headers(1, OK_HEADERS)
        mesh.run()
    if how == "reset":
        client.reset(stream)
        mesh.link(client).to_proxy()
    else:
        client.close()
        mesh.link(client).to_proxy()
    # No timer, no other event: what the server gets now was written in that turn.
    mesh.link(server).from_proxy()
    assert server.streams[1].reset == CANCEL
    assert mesh.plane.calls == 0


def test_a_client_that_leaves_while_it_waits_is_forgotten(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    assert mesh.cluster.pending == 1
    client.reset(stream)
    mesh.run()
    assert mesh.cluster.pending == 0 and mesh.plane.calls == 0


def test_leaving_harms_no_other_call_of_the_connections(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    leaving, staying = client.call(), client.call()
    mesh.run()
    client.reset(leaving)
    mesh.run()
    (server,) = mesh.servers
    echo(server, 3)
    mesh.run()
    assert client[staying].get("grpc-status") == "0"


# ---- resets of the server ----


def test_queued_data_goes_out_before_the_reset_that_follows_it(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.auto_credit = False
    body = message(b"x" * 65_000)
    for headers in (request_headers(), HTTP_GET):
        stream = client.call(headers)
        mesh.run()
        (server,) = mesh.servers
        mesh.link(client).transport.stalled = True
        server.h2.send_headers(server.last, OK_HEADERS)
        server.send(server.last, body[:30_000])
        mesh.run()
        server.send(server.last, body[30_000:])
        server.reset(server.last, 2)
        mesh.run()
        mesh.link(client).transport.stalled = False
        mesh.run()
        assert client[stream].data == body
        assert client[stream].order[-1] == "reset" and client[stream].reset == 2
        client.credit(stream)


def test_data_after_the_calls_end_does_no_harm(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(request_headers("a.B/C", (b"grpc-timeout", b"1S")), end=False)
    mesh.advance(1.1)
    assert client[stream].get("grpc-status") == "4"
    other = client.call()
    mesh.run()
    echo(mesh.servers[0], mesh.servers[0].last)
    mesh.run()
    assert client[other].get("grpc-status") == "0"
