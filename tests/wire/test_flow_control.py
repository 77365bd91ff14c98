"""Semantics 9: windows, backpressure, and the peer's MAX_CONCURRENT_STREAMS."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes

from tests.wire.conftest import MeshOf
from tests.wire.messages import OK_HEADERS, OK_TRAILERS, message, request_headers
from tests.wire.peers import Client, echo

WINDOW = 65536
MAX_STREAMS = int(SettingCodes.MAX_CONCURRENT_STREAMS)
INITIAL_WINDOW = int(SettingCodes.INITIAL_WINDOW_SIZE)


def test_the_windows_are_64_kib_a_stream_and_1_mib_a_connection(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    for peer in (client, mesh.servers[0]):
        assert peer.h2.remote_settings.initial_window_size == WINDOW
        assert peer.h2.outbound_flow_control_window == 1 << 20


def test_a_stalled_reader_costs_one_window_and_its_sibling_proceeds(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client({INITIAL_WINDOW: 0})
    client.auto_credit = False
    stalled, sibling = client.call(), client.call()
    mesh.run()
    (server,) = mesh.servers
    big = message(b"z" * 1_000_000)
    server.respond(1, big)
    server.respond(3, message(b"small"))
    client.h2.increment_flow_control_window(1000, sibling)
    mesh.run()
    assert client[sibling].data == message(b"small") and client[sibling].get("grpc-status") == "0"
    assert client[stalled].data == b""
    assert len(big) - len(server.backlog[1][0]) == WINDOW
    client.h2.increment_flow_control_window(len(big), stalled)
    client.h2.increment_flow_control_window(len(big))
    mesh.run()
    assert client[stalled].data == big and client[stalled].get("grpc-status") == "0"


def test_a_stalled_server_costs_one_window_and_its_sibling_proceeds(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, server_settings={INITIAL_WINDOW: 0})
    client = mesh.client()
    big = message(b"z" * 1_000_000)
    stalled, sibling = client.call(data=big), client.call(data=message(b"small"))
    mesh.run()
    (server,) = mesh.servers
    server.h2.increment_flow_control_window(1000, 3)
    mesh.run()
    assert server.streams[3].data == message(b"small") and server.streams[3].ended
    assert len(big) - len(client.backlog[stalled][0]) == WINDOW
    server.h2.increment_flow_control_window(len(big), 1)
    server.h2.increment_flow_control_window(len(big))
    mesh.run()
    assert server.streams[1].data == big and server.streams[1].ended
    echo(server, 3)
    mesh.run()
    assert client[sibling].get("grpc-status") == "0"


def test_many_stalled_streams_hold_up_nobody(mesh_of: MeshOf) -> None:
    """40 windows are far over the connection's; its credit must not be theirs to hold."""
    mesh = mesh_of(1)
    client, other = mesh.client({INITIAL_WINDOW: 0}), mesh.client()
    for _ in range(40):
        client.call()
    mesh.run()
    (server,) = mesh.servers
    for stream in list(server.streams):
        server.respond(stream, message(b"z" * 100_000))
    mesh.run()
    good = other.call()
    mesh.run()
    server.respond(server.last, message(b"z" * 100_000))
    mesh.run()
    assert len(other[good].data) == 100_005 and other[good].get("grpc-status") == "0"


def test_a_stalled_socket_stops_only_its_own_connection(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    slow, fast = mesh.client(), mesh.client()
    held, flowing = slow.call(), fast.call()
    mesh.run()
    mesh.link(slow).transport.stalled = True
    (server,) = mesh.servers
    big = message(b"z" * 1_000_000)
    server.respond(1, big)
    server.respond(3, big)
    mesh.run()
    assert fast[flowing].data == big and fast[flowing].get("grpc-status") == "0"
    assert len(mesh.link(slow).transport.held) <= 2 * WINDOW + 1000
    assert len(server.backlog[1][0]) >= len(big) - 2 * WINDOW
    mesh.link(slow).transport.stalled = False
    mesh.run()
    assert slow[held].data == big and slow[held].get("grpc-status") == "0"


def test_credit_of_discarded_data_is_returned(mesh_of: MeshOf) -> None:
    """Calls that are answered early or left: what their bodies took of the connection's window comes back.

    Credit comes in halves of the window, so up to one half may be on its way.
    """
    mesh = mesh_of(1)
    client = mesh.client()
    for n in range(60):
        timeout = (b"grpc-timeout", b"0S" if n % 2 else b"1S")
        stream = client.call(request_headers("a.B/C", timeout), end=False)
        client.send(stream, b"z" * 60_000)
        if n % 2 == 0:
            client.reset(stream)
        mesh.run()
    assert client.h2.outbound_flow_control_window > (1 << 19) - 2 * WINDOW
    for _ in range(60):
        client.call()
        mesh.run()
        server = mesh.servers[0]
        server.h2.send_headers(server.last, OK_HEADERS)
        server.send(server.last, b"z" * 60_000)
        client.reset(max(client.streams))
        mesh.run()
    assert server.h2.outbound_flow_control_window > (1 << 19) - 2 * WINDOW


def test_large_bodies_pass_both_ways_at_once(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    body = message(bytes(range(256)) * 12_000)
    streams = [client.call(data=body) for _ in range(3)]
    mesh.run()
    assert all(client[stream].data == body for stream in streams)


# ---- MAX_CONCURRENT_STREAMS ----


def open_calls(client: Client, count: int) -> list[int]:
    return [client.call() for _ in range(count)]


def test_the_limit_is_obeyed_and_another_connection_dialled(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, server_settings={MAX_STREAMS: 3})
    client = mesh.client()
    streams = open_calls(client, 8)
    mesh.run()
    assert [len(server.streams) for server in mesh.servers] == [3, 3, 2]
    for server in mesh.servers:
        for stream in list(server.streams):
            echo(server, stream)
    mesh.run()
    assert [client[s].get("grpc-status") for s in streams] == ["0"] * 8


def test_at_most_ten_connections_and_then_calls_wait(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, server_settings={MAX_STREAMS: 1})
    client = mesh.client()
    streams = open_calls(client, 12)
    mesh.run()
    assert len(mesh.servers) == 10 and mesh.cluster.pending == 2
    for server in mesh.servers[:2]:
        echo(server, 1)
    mesh.run()
    assert mesh.cluster.pending == 0 and len(mesh.servers) == 10
    for server in mesh.servers:
        echo(server, server.last) if server.last != 1 or server not in mesh.servers[:2] else None
    mesh.run()
    assert [client[s].get("grpc-status") for s in streams] == ["0"] * 12


def test_a_call_waits_for_room_only_up_to_its_deadline(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, server_settings={MAX_STREAMS: 1}, max_connections_per_endpoint=1)
    client = mesh.client()
    running = client.call()
    waiting = client.call(request_headers("a.B/C", (b"grpc-timeout", b"30S")))
    mesh.advance(29)
    assert not client[waiting].over and mesh.cluster.pending == 1
    mesh.advance(1.1)
    assert client[waiting].get("grpc-status") == "4" and not client[running].over


def test_a_limit_that_shrinks_and_grows_is_obeyed(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, max_connections_per_endpoint=1)
    client = mesh.client()
    open_calls(client, 4)
    mesh.run()
    (server,) = mesh.servers
    server.h2.update_settings({MAX_STREAMS: 2})
    mesh.run()
    later = open_calls(client, 2)
    mesh.run()
    assert len(server.streams) == 4 and mesh.cluster.pending == 2
    for stream in (1, 3):
        echo(server, stream)
        mesh.run()
    assert len(server.streams) == 4
    echo(server, 5)
    mesh.run()
    assert len(server.streams) == 5
    server.h2.update_settings({MAX_STREAMS: 50})
    mesh.run()
    assert len(server.streams) == 6 and mesh.cluster.pending == 0
    for stream in (7, 9, 11):
        echo(server, stream)
    mesh.run()
    assert [client[s].get("grpc-status") for s in later] == ["0", "0"]


def test_calls_that_wait_for_room_are_not_forgotten_when_the_endpoint_dies(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, server_settings={MAX_STREAMS: 1}, max_connections_per_endpoint=1)
    client = mesh.client()
    _, waiting = open_calls(client, 2)
    mesh.run()
    assert mesh.cluster.pending == 1
    mesh.modes["10.0.0.1:50051"] = "refuse"
    mesh.servers[0].close()
    mesh.advance(4)
    assert client[waiting].get("grpc-status") == "14" and mesh.cluster.pending == 0


@pytest.mark.parametrize("ends", ["echo", "reset", "left"])
def test_room_is_given_back_however_a_call_ends(mesh_of: MeshOf, ends: str) -> None:
    mesh = mesh_of(1, server_settings={MAX_STREAMS: 1}, max_connections_per_endpoint=1)
    client = mesh.client()
    for _ in range(5):
        stream = client.call()
        mesh.run()
        (server,) = mesh.servers
        if ends == "echo":
            server.respond(server.last, message(b"x"), trailers=OK_TRAILERS)
        elif ends == "reset":
            server.reset(server.last, 2)
        else:
            client.reset(stream)
        mesh.run()
        assert mesh.cluster.pending == 0
    assert len(server.streams) == 5
