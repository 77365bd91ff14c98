"""Semantics 1 and 2: what counts as a gRPC call, and the proxy's own replies."""

from __future__ import annotations

import pytest

from proxy.dataplane import Limits
from tests.wire.conftest import MeshOf
from tests.wire.harness import Mesh
from tests.wire.messages import HTTP_GET, OK_HEADERS, Headers, message, request_headers
from tests.wire.peers import Record, echo


def with_type(content_type: bytes) -> Headers:
    return [(k, content_type if k == b"content-type" else v) for k, v in request_headers()]


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpcfoo", False),
        (b"application/json", False),
        (b"application/grp", False),
    ],
)
def test_a_grpc_call_is_known_by_its_content_type(mesh_of: MeshOf, content_type: bytes, is_grpc: bool) -> None:
    mesh = mesh_of(0, failfast_s=1.0)
    client = mesh.client()
    stream = client.call(with_type(content_type))
    mesh.advance(1.1)
    assert client[stream].get(":status") == ("200" if is_grpc else "503")
    assert client[stream].get("grpc-status") == ("14" if is_grpc else None)


def provoke(mesh: Mesh, flag: str, headers: Headers) -> Record:
    """Make the proxy answer one call by itself with this flag."""
    client = mesh.client()
    if flag == "headers_too_large":
        stream = client.call([*headers, *[(b"x-%d" % n, b"v") for n in range(100)]])
        mesh.run()
        return client[stream]
    if flag == "overloaded":
        mesh.modes[mesh.endpoint(1).address] = "hold"
        mesh.servers[0].close()
        mesh.run()
        for _ in range(3):
            stream = client.call(headers)
        mesh.run()
        return client[stream]
    stream = client.call(headers)
    mesh.run()
    server = mesh.servers[0] if mesh.servers else None
    if flag in ("no_endpoint", "connect_failed"):
        mesh.advance(3.1)
    elif flag == "refused":
        assert server is not None
        server.reset(server.last, 7)
        mesh.run()
        server.reset(server.last, 7)
    elif flag == "upstream_lost":
        assert server is not None
        server.close()
    elif flag == "timeout":
        mesh.advance(5.1)
    elif flag == "upstream_protocol":
        assert server is not None
        server.h2.send_headers(server.last, [(b":status", b"200"), (b":status", b"200")], end_stream=True)
    mesh.run()
    return client[stream]


OWN_END, LISTENER = ("127.0.0.1", 5), ("127.0.0.1", 15001)

ROWS = [
    ("no_endpoint", 503, 14),
    ("overloaded", 503, 14),
    ("connect_failed", 503, 14),
    ("refused", 503, 14),
    ("upstream_lost", 502, 14),
    ("timeout", 504, 4),
    ("upstream_protocol", 502, 13),
    ("headers_too_large", 431, 8),
    ("loop", 508, 13),
]


def mesh_for(mesh_of: MeshOf, flag: str) -> Mesh:
    if flag == "no_endpoint":
        return mesh_of(0)
    mesh = mesh_of(1, timeout_s=5.0 if flag == "timeout" else None, max_pending=2)
    if flag == "connect_failed":
        mesh.modes[mesh.endpoint(1).address] = "refuse"
        mesh.servers[0].close()
        mesh.run()
    if flag == "loop":
        mesh.plane.upstream_pairs.add((OWN_END, LISTENER))
        make = mesh.client
        mesh.client = lambda *_: make(peername=OWN_END, sockname=LISTENER)  # type: ignore[method-assign]
    return mesh


def test_a_client_that_only_shares_its_port_with_an_upstream_connection_is_served(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    mesh.plane.upstream_pairs.add((OWN_END, ("127.0.0.1", 50051)))
    client = mesh.client(peername=OWN_END, sockname=LISTENER)
    stream = client.call()
    mesh.run()
    mesh.servers[0].respond(mesh.servers[0].last)
    mesh.run()
    assert client[stream].get("grpc-status") == "0"


@pytest.mark.parametrize(("flag", "grpc_status"), [(flag, grpc) for flag, _, grpc in ROWS])
def test_own_reply_to_grpc_is_trailers_only(mesh_of: MeshOf, flag: str, grpc_status: int) -> None:
    mesh = mesh_for(mesh_of, flag)
    record = provoke(mesh, flag, request_headers())
    assert record.order == ["headers", "end"]
    assert record.get(":status") == "200"
    assert record.get("content-type") == "application/grpc"
    assert record.get("grpc-status") == str(grpc_status)
    assert record.get("grpc-message")
    assert record.get("x-mesh-error") == flag
    assert record.get("content-length") is None
    assert mesh.outcomes()["failure", 200, grpc_status, flag] == 1


@pytest.mark.parametrize(("flag", "http_status"), [(flag, http) for flag, http, _ in ROWS])
def test_own_reply_to_http_is_a_status_and_one_line(mesh_of: MeshOf, flag: str, http_status: int) -> None:
    mesh = mesh_for(mesh_of, flag)
    record = provoke(mesh, flag, HTTP_GET)
    assert record.ended
    assert record.get(":status") == str(http_status)
    assert record.get("x-mesh-error") == flag
    assert record.get("grpc-status") is None
    assert record.data.count(b"\n") == 1 and record.data.endswith(b"\n")
    assert record.get("content-length") == str(len(record.data))
    assert mesh.outcomes()["failure", http_status, -1, flag] == 1


def test_head_gets_the_headers_of_the_reply_without_its_body(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    stream = client.call([(b":method", b"HEAD"), *HTTP_GET[1:]])
    mesh.advance(3.1)
    assert client[stream].get(":status") == "503"
    assert client[stream].data == b"" and client[stream].ended


def test_too_many_calls_in_flight_is_overloaded(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, limits=Limits(max_calls=2))
    client = mesh.client()
    streams = [client.call() for _ in range(3)]
    mesh.run()
    assert [client[s].get("x-mesh-error") for s in streams] == [None, None, "overloaded"]


def test_no_route_is_answered_as_no_endpoint(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client = mesh.client()
    headers = [(k, b"nowhere" if k == b":authority" else v) for k, v in request_headers()]
    stream, good = client.call(headers), client.call()
    mesh.run()
    assert client[stream].get("grpc-status") == "14"
    assert client[stream].get("x-mesh-error") == "no_endpoint"
    assert client[good].get("grpc-status") == "0"


def test_grpc_message_is_percent_encoded(mesh_of: MeshOf) -> None:
    mesh = mesh_of(0)
    client = mesh.client()
    headers = [(k, b"/pkg.S/%41" if k == b":path" else v) for k, v in request_headers()]
    headers = [(k, b"nowhere" if k == b":authority" else v) for k, v in headers]
    stream = client.call(headers)
    mesh.run()
    assert "/pkg.S/%2541" in (client[stream].get("grpc-message") or "")


# ---- after response headers were forwarded ----


@pytest.mark.parametrize(("cause", "grpc_status"), [("lost", "14"), ("protocol", "13"), ("timeout", "4")])
def test_a_break_between_messages_ends_with_trailers(mesh_of: MeshOf, cause: str, grpc_status: str) -> None:
    mesh = mesh_of(1, timeout_s=5.0)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(server.last, OK_HEADERS)
    server.send(server.last, message(b"first"))
    mesh.run()
    break_off(mesh, cause)
    assert client[stream].data == message(b"first")
    assert client[stream].order[-2:] == ["trailers", "end"]
    assert client[stream].get("grpc-status") == grpc_status


@pytest.mark.parametrize("cause", ["lost", "protocol", "timeout", "ok", "no status"])
def test_a_break_inside_a_message_resets(mesh_of: MeshOf, cause: str) -> None:
    mesh = mesh_of(1, timeout_s=5.0)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(server.last, OK_HEADERS)
    server.send(server.last, message(b"truncated")[:-1])
    mesh.run()
    break_off(mesh, cause)
    assert client[stream].data == message(b"truncated")[:-1]
    assert client[stream].reset is not None
    assert not client[stream].ended
    assert sum(n for (kind, *_), n in mesh.outcomes().items() if kind == "failure") == 1


def break_off(mesh: Mesh, cause: str) -> None:
    (server,) = mesh.servers
    if cause == "lost":
        server.close()
    elif cause == "protocol":
        server.send_frame_bytes(b"\0\0\x05\x06\0\0\0\0\0hello")
    elif cause == "timeout":
        mesh.advance(5.1)
    else:
        server.send(server.last, trailers=[(b"grpc-status", b"0")] if cause == "ok" else None, end=True)
    mesh.run()


def test_a_broken_http_body_is_reset_not_ended(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call(HTTP_GET)
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(server.last, [(b":status", b"200"), (b"content-type", b"text/plain")])
    server.send(server.last, b"half of it")
    mesh.run()
    server.close()
    mesh.run()
    assert client[stream].data == b"half of it"
    assert client[stream].reset is not None and not client[stream].ended


def unreachable_application(mesh_of: MeshOf, **cluster: object) -> Mesh:
    mesh = mesh_of(1, only=True, **cluster)
    mesh.modes[mesh.endpoint(1).address] = "refuse"
    mesh.servers[0].close()
    mesh.run()
    return mesh


@pytest.mark.parametrize("headers", [request_headers(), HTTP_GET])
def test_what_the_pods_application_never_saw_is_refused_so_that_it_is_taken_elsewhere(
    mesh_of: MeshOf, headers: Headers
) -> None:
    mesh = unreachable_application(mesh_of, inbound=True)
    client = mesh.client()
    stream = client.call(headers)
    mesh.run()
    assert (client[stream].reset, client[stream].headers) == (7, [])
    assert {flag for *_, flag in mesh.outcomes()} == {"connect_failed"}


def test_a_client_is_not_cut_for_what_was_refused_for_its_applications_sake(mesh_of: MeshOf) -> None:
    mesh = unreachable_application(mesh_of, inbound=True)
    client = mesh.client()
    for _ in range(1500):  # more than the resets a client may provoke
        stream = client.call(request_headers())
        mesh.run()
        assert client[stream].reset == 7
    assert mesh.plane.cuts == {}


def test_calls_do_not_wait_for_an_only_endpoint_that_cannot_be_reached(mesh_of: MeshOf) -> None:
    mesh = unreachable_application(mesh_of)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    assert client[stream].get("x-mesh-error") == "connect_failed"
    mesh.modes.clear()
    mesh.redial()
    mesh.run()
    stream = client.call()
    mesh.run()
    assert not client[stream].over
    assert mesh.servers[-1].last == 1
