"""Semantics 8: what passes unchanged, what is dropped, and the limits."""

from __future__ import annotations

import pytest
from hpack import NeverIndexedHeaderTuple

from proxy.dataplane import Limits
from tests.wire.conftest import MeshOf
from tests.wire.messages import HTTP_GET, OK_HEADERS, OK_TRAILERS, Headers, message, request_headers
from tests.wire.peers import echo

ODD: Headers = [
    (b"x-twice", b"2"),
    (b"x-twice", b"1"),
    (b"trace-bin", b"AAECAw=="),
    (b"trace-bin", b"not base64 !*"),
    (b"grpc-unknown-thing", b"kept"),
    (b"x-empty", b""),
    (b"x-eight-bit", bytes(range(0x80, 0x100))),
    (b"x-twice", b"3"),
    (b"cookie", b"a=1"),
    (b"cookie", b"b=2"),
    (b"x-comma", b'a, b;c="d"'),
    (b"user-agent", b"grpc-python/1.80 tab\there"),
]


def test_request_headers_pass_byte_for_byte_in_order(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    headers = request_headers("pkg.S/M?q=%2F&x=\\", *ODD)
    client.call(headers, trailers=ODD)
    mesh.run()
    record = mesh.servers[0].streams[1]
    assert record.headers == headers
    assert record.trailers == ODD


def test_response_headers_and_trailers_pass_byte_for_byte_in_order(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    stream = client.call()
    mesh.run()
    headers = [*OK_HEADERS, *ODD, (b"date", b"yesterday"), (b"host", b"odd in a response")]
    trailers = [(b"grpc-status", b"5"), (b"grpc-message", b"caf%C3%A9 %ff"), *ODD]
    mesh.servers[0].respond(1, message(b"x"), headers=headers, trailers=trailers)
    mesh.run()
    assert client[stream].headers == headers
    assert client[stream].trailers == trailers


def test_the_never_indexed_flag_of_a_field_stays(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    secret = NeverIndexedHeaderTuple(b"authorization", b"Bearer secret")
    stream = client.call([*request_headers(), secret, (b"x-plain", b"p")])
    mesh.run()
    (server,) = mesh.servers
    server.respond(1, headers=[*OK_HEADERS, NeverIndexedHeaderTuple(b"set-secret", b"s"), (b"y", b"p")])
    mesh.run()
    for headers, name in ((server.streams[1].headers, secret[0]), (client[stream].headers, b"set-secret")):
        flags = {field[0]: isinstance(field, NeverIndexedHeaderTuple) for field in headers}
        assert [key for key, never in flags.items() if never] == [name]


def test_authority_stays_the_clients_and_an_equal_host_is_dropped(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call([*request_headers(), (b"host", b"echo.test"), (b"x-after", b"1")])
    mesh.run()
    assert mesh.servers[0].streams[1].headers == [*request_headers(), (b"x-after", b"1")]


def test_host_alone_stands_for_the_authority(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    headers = [*(h for h in request_headers() if h[0] != b":authority"), (b"host", b"only.test")]
    client.call(headers)
    mesh.run()
    assert mesh.servers[0].streams[1].headers == headers
    assert [stats.authority for stats in mesh.stats()] == ["only.test"]


def test_te_passes_as_trailers(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call()
    mesh.run()
    assert (b"te", b"trailers") in mesh.servers[0].streams[1].headers


def test_broken_base64_of_one_caller_harms_no_other(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, serve=echo)
    client, other = mesh.client(), mesh.client()
    bad = client.call(request_headers("a.B/C", (b"x-bin", b"%%%")))
    good = other.call()
    mesh.run()
    assert other[good].get("grpc-status") == client[bad].get("grpc-status") == "0"
    assert len(mesh.servers) == 1


# ---- limits ----


def fill(headers: Headers, fields: int) -> Headers:
    return [*headers, *((b"x-%d" % n, b"v") for n in range(fields - len(headers)))]


def pad(headers: Headers, size: int) -> Headers:
    """Add fields that bring the list to `size` bytes as RFC 9113, section 6.5.2 counts them."""
    left = size - sum(len(key) + len(value) + 32 for key, value in headers)
    padded = list(headers)
    while left:
        step = left if left < 8192 else 4096
        padded.append((b"x-pad", b"p" * (step - 37)))
        left -= step
    return padded


def test_the_limit_is_advertised(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1, limits=Limits(max_header_list_bytes=30_000))
    client = mesh.client()
    assert client.h2.remote_settings.max_header_list_size == 30_000
    assert mesh.servers[0].h2.remote_settings.max_header_list_size == 30_000


@pytest.mark.parametrize("grow", [lambda h: fill(h, 100), lambda h: pad(h, 65536)])
def test_headers_at_the_limit_pass_intact_both_ways(mesh_of: MeshOf, grow: object) -> None:
    assert callable(grow)
    mesh = mesh_of(1)
    client = mesh.client({6: 1 << 20})
    client.h2.max_inbound_frame_size = 1 << 20
    headers, trailers = grow(request_headers()), grow(OK_TRAILERS)
    client.h2.decoder.max_header_list_size = mesh.servers[0].h2.decoder.max_header_list_size = 1 << 20
    stream = client.call(headers)
    mesh.run()
    (server,) = mesh.servers
    assert server.streams[1].headers == headers
    server.respond(1, message(b"x"), headers=grow(OK_HEADERS), trailers=trailers)
    mesh.run()
    assert client[stream].headers == grow(OK_HEADERS) and client[stream].trailers == trailers


@pytest.mark.parametrize("grow", [lambda h: fill(h, 101), lambda h: pad(h, 65537), lambda h: pad(h, 200_000)])
@pytest.mark.parametrize(("base", "status", "grpc"), [(request_headers(), "200", "8"), (HTTP_GET, "431", None)])
def test_headers_over_the_limit_fail_that_call_only(
    mesh_of: MeshOf, grow: object, base: Headers, status: str, grpc: str | None
) -> None:
    assert callable(grow)
    mesh = mesh_of(1)
    client = mesh.client()
    before = client.call()
    bad = client.call(grow(base), b"a body", end=False)
    after = client.call()
    mesh.run()
    assert (client[bad].get(":status"), client[bad].get("grpc-status")) == (status, grpc)
    assert client[bad].get("x-mesh-error") == "headers_too_large"
    (server,) = mesh.servers
    assert len(server.streams) == 2
    for stream in list(server.streams):
        echo(server, stream)
    mesh.run()
    assert client[before].get("grpc-status") == client[after].get("grpc-status") == "0"
    assert not client.closed and mesh.plane.cuts == {}


@pytest.mark.parametrize("header", [b":path", b"x-first"])
def test_a_grpc_call_over_the_limit_is_answered_as_grpc_wherever_its_content_type_is(
    mesh_of: MeshOf, header: bytes
) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    big = (header, b"/" + b"p" * 70_000)
    headers = [h for h in request_headers() if h[0] != header]
    headers.insert(0 if header.startswith(b":") else 4, big)
    stream = client.call(headers)
    mesh.run()
    assert client[stream].get("grpc-status") == "8"
    assert not client.closed


def test_a_header_bomb_ends_the_connection(mesh_of: MeshOf) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    client.call(pad(request_headers(), 1 << 20))
    mesh.run()
    assert client.closed and mesh.plane.cuts == {"header_bomb": 1}
    assert client.goaways[-1][1] == 11
