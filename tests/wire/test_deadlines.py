"""Semantics 7: grpc-timeout and the route's limit."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.messages import HTTP_GET, OK_HEADERS, message, request_headers
from tests.wire.peers import echo

UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def seconds(value: str | None) -> float:
    assert value is not None and 2 <= len(value) <= 9
    return int(value[:-1]) * UNITS[value[-1]]


def timed(value: bytes) -> list[tuple[bytes, bytes]]:
    return request_headers("test.Echo/Unary", (b"grpc-timeout", value))


@pytest.mark.parametrize("value", [b"1H", b"5M", b"99999999S", b"20S", b"250m", b"250000u", b"90000000n"])
def test_every_unit_is_understood_and_forwarded(mesh_of: MeshOf, value: bytes) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call(timed(value))
    mesh.run()
    forwarded = mesh.servers[0].streams[1].get("grpc-timeout")
    assert seconds(forwarded) == pytest.approx(seconds(value.decode()), rel=1e-3)


def test_what_goes_upstream_is_the_remaining_time(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    mesh.modes["10.0.0.1:50051"] = "hold"
    mesh.servers[0].close()
    mesh.run()
    client = mesh.client()
    client.call(timed(b"2S"))
    mesh.advance(1.25)
    mesh.modes.clear()
    mesh.run()
    assert mesh.servers[-1].streams[1].get("grpc-timeout") == "750000u"


@pytest.mark.parametrize(("asked", "limit_s", "forwarded_s"), [(b"2S", 5.0, 2.0), (b"9S", 5.0, 5.0), (None, 5.0, 5.0)])
def test_the_smaller_of_grpc_timeout_and_the_routes_limit(
    mesh_of: MeshOf, asked: bytes | None, limit_s: float, forwarded_s: float
) -> None:
    mesh = mesh_of(1, timeout_s=limit_s)
    client = mesh.client()
    stream = client.call(request_headers() if asked is None else timed(asked))
    mesh.run()
    record = mesh.servers[0].streams[1]
    assert seconds(record.get("grpc-timeout")) == forwarded_s
    assert [key for key, _ in record.headers].count(b"grpc-timeout") == 1
    mesh.advance(forwarded_s - 0.01)
    assert not client[stream].over
    mesh.advance(0.02)
    assert client[stream].get("grpc-status") == "4"


@pytest.mark.parametrize(
    "value", [b"", b"S", b"1", b"123456789S", b"-1S", b"+1S", b"1.5S", b"1s", b"1 S", b"0x1S", b"soon"]
)
def test_a_malformed_timeout_is_forwarded_and_not_enforced(mesh_of: MeshOf, value: bytes) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(timed(value))
    mesh.run()
    assert (b"grpc-timeout", value) in mesh.servers[0].streams[1].headers
    mesh.advance(100_000)
    assert not client[stream].over
    echo(mesh.servers[0], 1)
    mesh.run()
    assert client[stream].get("grpc-status") == "0"


@pytest.mark.parametrize("headers_came", [False, True])
def test_expiry_is_status_4_down_and_cancel_up(mesh_of: MeshOf, headers_came: bool) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(timed(b"2S"), message(b"x"))
    mesh.run()
    (server,) = mesh.servers
    if headers_came:
        server.h2.send_headers(1, OK_HEADERS)
    mesh.advance(2.01)
    assert client[stream].get("grpc-status") == "4" and client[stream].get("x-mesh-error") == "timeout"
    assert client[stream].ended
    assert server.streams[1].reset == 8
    assert mesh.outcomes() == {("failure", 200, 4, "timeout"): 1}


def test_expiry_of_an_http_call_is_504(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, timeout_s=1.0)
    client = mesh.client()
    stream = client.call(HTTP_GET)
    mesh.advance(1.01)
    assert client[stream].get(":status") == "504"
    assert mesh.servers[0].streams[1].get("grpc-timeout") is None
    assert mesh.servers[0].streams[1].reset == 8


def test_expiry_while_waiting_for_an_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    stream = client.call(timed(b"1S"))
    mesh.advance(1.01)
    assert client[stream].get("grpc-status") == "4" and mesh.cluster.pending == 0


@pytest.mark.parametrize("value", [b"0S", b"0n", b"00000000H"])
def test_a_deadline_past_on_arrival_sends_nothing_upstream(mesh_of: MeshOf, value: bytes) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    stream = client.call(timed(value))
    mesh.run()
    assert client[stream].get("grpc-status") == "4" and not mesh.servers[0].streams


def test_a_timeout_is_not_enforced_for_what_is_not_grpc(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call([*HTTP_GET, (b"grpc-timeout", b"1S")])
    mesh.advance(10)
    assert not client[stream].over
    assert mesh.servers[0].streams[1].get("grpc-timeout") == "1S"


def test_a_quiet_stream_is_never_cut(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(end=False)
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(1, OK_HEADERS)
    mesh.advance(7 * 24 * 3600)
    assert not client[stream].over
    client.send(stream, message(b"still here"), end=True)
    mesh.run()
    assert server.streams[1].data == message(b"still here")


def test_a_call_that_ends_in_time_leaves_no_timer(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    stream = client.call(timed(b"1S"))
    mesh.advance(5)
    assert client[stream].get("grpc-status") == "0"
    assert mesh.outcomes() == {("success", 200, 0, ""): 1}
