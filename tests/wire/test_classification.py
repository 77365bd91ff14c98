"""Semantics 3: how calls are classified, as the counters show it."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.messages import HTTP_GET, OK_HEADERS, Headers, message
from tests.wire.peers import echo


def respond(mesh_of: MeshOf, headers: Headers, trailers: Headers | None, body: bytes = b"") -> set[object]:
    """One gRPC call answered so; returns the outcomes counted."""
    mesh = mesh_of(1)
    client = mesh.client()
    client.call(data=message(b"hello"))
    mesh.run()
    (server,) = mesh.servers
    if trailers is None and not body:
        server.h2.send_headers(server.last, headers, end_stream=True)
    else:
        server.respond(server.last, body, headers=headers, trailers=trailers)
    mesh.run()
    assert all(count == 1 for count in mesh.outcomes().values())
    return set(mesh.outcomes())


FAILURES = {2, 4, 13, 14, 15}


@pytest.mark.parametrize("status", range(17))
def test_grpc_status_from_trailers(mesh_of: MeshOf, status: int) -> None:
    kind = "failure" if status in FAILURES else "cancelled" if status == 1 else "success"
    trailers = [(b"grpc-status", str(status).encode())]
    assert respond(mesh_of, OK_HEADERS, trailers, message(b"x")) == {(kind, 200, status, "")}


def test_grpc_status_from_trailers_only_headers(mesh_of: MeshOf) -> None:
    headers = [*OK_HEADERS, (b"grpc-status", b"5")]
    assert respond(mesh_of, headers, None) == {("success", 200, 5, "")}


def test_a_present_grpc_status_makes_http_status_irrelevant(mesh_of: MeshOf) -> None:
    headers = [(b":status", b"503"), OK_HEADERS[1], (b"grpc-status", b"0")]
    assert respond(mesh_of, headers, None) == {("success", 503, 0, "")}


@pytest.mark.parametrize("value", [b"nope", b"", b"-1", b"99", b"12345678901"])
def test_a_grpc_status_that_is_no_status_is_unknown(mesh_of: MeshOf, value: bytes) -> None:
    trailers = [(b"grpc-status", value)]
    assert respond(mesh_of, OK_HEADERS, trailers, message(b"x")) == {("failure", 200, 2, "")}


def test_a_missing_grpc_status_at_a_clean_end_is_a_failure(mesh_of: MeshOf) -> None:
    assert respond(mesh_of, OK_HEADERS, None, message(b"x")) == {("failure", 200, 2, "")}


@pytest.mark.parametrize(
    ("http_status", "grpc_status"),
    [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (502, 14),
        (503, 14),
        (504, 14),
        (418, 2),
        (500, 2),
    ],
)
def test_http_status_stands_in_for_a_missing_grpc_status(mesh_of: MeshOf, http_status: int, grpc_status: int) -> None:
    headers = [(b":status", str(http_status).encode()), (b"content-type", b"text/html")]
    kind = "failure" if grpc_status in FAILURES else "success"
    assert respond(mesh_of, headers, None) == {(kind, http_status, grpc_status, "")}


@pytest.mark.parametrize(
    ("http_status", "kind"), [(200, "success"), (404, "success"), (500, "failure"), (503, "failure")]
)
def test_http_failures_are_5xx(mesh_of: MeshOf, http_status: int, kind: str) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call(HTTP_GET)
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(server.last, [(b":status", str(http_status).encode())], end_stream=True)
    mesh.run()
    assert set(mesh.outcomes()) == {(kind, http_status, -1, "")}


RESETS = [(0, 13), (1, 13), (2, 13), (3, 13), (6, 13), (9, 13), (8, 1), (11, 8), (12, 7)]


@pytest.mark.parametrize(("code", "grpc_status"), RESETS)
def test_reset_before_headers_is_mapped_and_relayed(mesh_of: MeshOf, code: int, grpc_status: int) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    (server,) = mesh.servers
    server.reset(server.last, code)
    mesh.run()
    kind = "failure" if grpc_status in FAILURES else "cancelled" if grpc_status == 1 else "success"
    assert client[stream].reset == code
    assert set(mesh.outcomes()) == {(kind, 0, grpc_status, "")}


@pytest.mark.parametrize(("code", "grpc_status"), [*RESETS, (7, 14)])
def test_reset_after_headers_is_mapped_and_relayed(mesh_of: MeshOf, code: int, grpc_status: int) -> None:
    mesh = mesh_of(2)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    server = next(s for s in mesh.servers if s.streams)
    server.h2.send_headers(server.last, OK_HEADERS)
    server.reset(server.last, code)
    mesh.run()
    kind = "failure" if grpc_status in FAILURES else "cancelled" if grpc_status == 1 else "success"
    assert client[stream].order == ["headers", "reset"] and client[stream].reset == code
    assert set(mesh.outcomes()) == {(kind, 200, grpc_status, "")}


def test_a_call_left_by_its_caller_is_cancelled(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    client.reset(stream)
    mesh.run()
    assert set(mesh.outcomes()) == {("cancelled", 0, 1, "")}


def test_started_counts_at_the_start_and_responses_at_the_end(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call()
    mesh.run()
    (stats,) = mesh.stats()
    assert (stats.started, stats.in_flight, stats.responses()) == (1, 1, [])
    assert (stats.authority, stats.method, stats.endpoint) == ("echo.test", "test.Echo/Unary", "10.0.0.1:50051")
    echo(mesh.servers[0], mesh.servers[0].last)
    mesh.run()
    assert (stats.started, stats.in_flight) == (1, 0)
    assert stats.responses() == [("success", 200, 0, "", 1)]


def test_messages_bytes_and_times_are_counted(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(data=message(b"a") + message(b"bc"))
    mesh.advance(0.25)
    (server,) = mesh.servers
    server.respond(server.last, message(b"answer"))
    mesh.run()
    (stats,) = mesh.stats()
    assert (stats.request_messages, stats.request_bytes) == (2, 13)
    assert (stats.response_messages, stats.response_bytes) == (1, 11)
    assert stats.headers_s.sum == pytest.approx(0.25) and stats.end_s.sum == pytest.approx(0.25)
    assert sum(stats.end_s.counts) == 1 and client[stream].ended
