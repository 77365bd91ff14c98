"""Semantics 8: a malformed request ends its own stream before routing, and nothing else."""

from __future__ import annotations

import pytest

from tests.wire.conftest import MeshOf
from tests.wire.messages import Headers, message, request_headers
from tests.wire.peers import echo


def replaced(name: bytes, value: bytes) -> Headers:
    return [(key, value if key == name else old) for key, old in request_headers()]


def without(name: bytes) -> Headers:
    return [field for field in request_headers() if field[0] != name]


def plus(name: bytes, value: bytes = b"v") -> Headers:
    return [*request_headers(), (name, value)]


MALFORMED: dict[str, Headers] = {
    "NUL in a value": plus(b"x", b"a\0b"),
    "LF in a value": plus(b"x", b"a\nb"),
    "CR in a value": plus(b"x", b"a\rb"),
    "DEL in a value": plus(b"x", b"a\x7fb"),
    "control character in a value": plus(b"x", b"a\x01b"),
    "leading blank": plus(b"x", b" a"),
    "trailing blank": plus(b"x", b"a "),
    "leading tab": plus(b"x", b"\ta"),
    "trailing tab": plus(b"x", b"a\t"),
    "upper-case name": plus(b"X-Upper"),
    "blank in a name": plus(b"x y"),
    "colon in a name": plus(b"x:y"),
    "empty name": plus(b""),
    "control character in a name": plus(b"x\ny"),
    "8-bit name": plus(b"x\xff"),
    "connection": plus(b"connection", b"close"),
    "keep-alive": plus(b"keep-alive", b"timeout=5"),
    "proxy-connection": plus(b"proxy-connection", b"close"),
    "transfer-encoding": plus(b"transfer-encoding", b"chunked"),
    "upgrade": plus(b"upgrade", b"websocket"),
    "te other than trailers": replaced(b"te", b"gzip"),
    "te with more than trailers": replaced(b"te", b"trailers, gzip"),
    "duplicate :method": [(b":method", b"POST"), *request_headers()],
    "duplicate :path": [(b":path", b"/other"), *request_headers()],
    "duplicate :scheme": [(b":scheme", b"http"), *request_headers()],
    "duplicate :authority": [(b":authority", b"echo.test"), *request_headers()],
    "missing :method": without(b":method"),
    "missing :path": without(b":path"),
    "missing :scheme": without(b":scheme"),
    "unknown pseudo-header": [(b":protocol", b"websocket"), *request_headers()],
    ":status in a request": [(b":status", b"200"), *request_headers()],
    "late pseudo-header": [*without(b":authority"), (b":authority", b"echo.test")],
    "empty :path": replaced(b":path", b""),
    "absolute :path": replaced(b":path", b"http://evil.test/a"),
    ":path without its slash": replaced(b":path", b"a.B/C"),
    ":path *": replaced(b":path", b"*"),
    "blank in :path": replaced(b":path", b"/a b"),
    "# in :path": replaced(b":path", b"/a#b"),
    "control character in :path": replaced(b":path", b"/a\x00b"),
    "userinfo in :authority": replaced(b":authority", b"user@echo.test"),
    "blank in :authority": replaced(b":authority", b"echo test"),
    "slash in :authority": replaced(b":authority", b"echo.test/x"),
    "empty :authority": replaced(b":authority", b""),
    "blank in :method": replaced(b":method", b"PO ST"),
    "empty :method": replaced(b":method", b""),
    "empty :scheme": replaced(b":scheme", b""),
    "different host": plus(b"host", b"other.test"),
    "two hosts": [*plus(b"host", b"echo.test"), (b"host", b"echo.test")],
    "signed content-length": plus(b"content-length", b"+5"),
    "negative content-length": plus(b"content-length", b"-1"),
    "list of content-lengths": plus(b"content-length", b"0, 0"),
    "repeated content-length": [*plus(b"content-length", b"0"), (b"content-length", b"0")],
    "overflowing content-length": plus(b"content-length", b"18446744073709551616"),
    "empty content-length": plus(b"content-length", b""),
}


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_refused_and_its_neighbours_live(mesh_of: MeshOf, headers: Headers) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    before = client.call(data=message(b"before"))
    bad = client.call(headers)
    after = client.call(data=message(b"after"))
    mesh.run()
    (server,) = mesh.servers
    assert client[bad].reset == 1 and not client[bad].headers
    assert len(server.streams) == 2, "it was routed"
    for stream in list(server.streams):
        echo(server, stream)
    mesh.run()
    assert client[before].data == message(b"before") and client[before].get("grpc-status") == "0"
    assert client[after].data == message(b"after") and client[after].get("grpc-status") == "0"
    assert not client.closed and mesh.plane.malformed == 1


@pytest.mark.parametrize(("announced", "body"), [(b"5", b"1234"), (b"5", b"123456"), (b"0", b"1"), (b"5", b"")])
def test_a_body_that_is_not_content_length_long_is_refused(mesh_of: MeshOf, announced: bytes, body: bytes) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    bad = client.call(plus(b"content-length", announced), body)
    good = client.call(plus(b"content-length", b"6"), message(b"x"))
    mesh.run()
    assert client[bad].reset == 1
    (server,) = mesh.servers
    assert not any(record.ended for stream, record in server.streams.items() if record.data != message(b"x"))
    echo(server, server.last)
    mesh.run()
    assert client[good].get("grpc-status") == "0"


BAD_TRAILERS: dict[str, Headers] = {
    "pseudo-header": [(b":path", b"/")],
    "content-length": [(b"content-length", b"0")],
    "transfer-encoding": [(b"transfer-encoding", b"chunked")],
    "connection": [(b"connection", b"close")],
    "host": [(b"host", b"echo.test")],
    "upper case": [(b"X-Trailer", b"v")],
    "control character": [(b"x-trailer", b"a\rb")],
}


@pytest.mark.parametrize("trailers", BAD_TRAILERS.values(), ids=BAD_TRAILERS)
def test_malformed_trailers_are_refused(mesh_of: MeshOf, trailers: Headers) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    bad = client.call(data=message(b"bad"), trailers=trailers)
    good = client.call(data=message(b"good"))
    mesh.run()
    (server,) = mesh.servers
    assert client[bad].reset == 1
    assert not any(record.trailers for record in server.streams.values())
    (stream,) = [s for s, record in server.streams.items() if record.ended and record.reset is None]
    echo(server, stream)
    mesh.run()
    assert client[good].data == message(b"good") and client[good].get("grpc-status") == "0"


@pytest.mark.parametrize("trailers", BAD_TRAILERS.values(), ids=BAD_TRAILERS)
def test_malformed_trailers_of_a_server_end_that_call_as_a_protocol_fault(mesh_of: MeshOf, trailers: Headers) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    bad, good = client.call(), client.call()
    mesh.run()
    (server,) = mesh.servers
    server.respond(1, message(b"x"), trailers=[(b"grpc-status", b"0"), *trailers])
    echo(server, 3)
    mesh.run()
    assert client[bad].get("grpc-status") == "13" and client[bad].get("x-mesh-error") == "upstream_protocol"
    assert client[good].get("grpc-status") == "0" and len(mesh.servers) == 1


BAD_RESPONSES: dict[str, Headers] = {
    "no :status": [(b"content-type", b"application/grpc")],
    "two :status": [(b":status", b"200"), (b":status", b"200")],
    ":status of no number": [(b":status", b"abc")],
    ":status too small": [(b":status", b"99")],
    "101": [(b":status", b"101")],
    "request pseudo-header": [(b":status", b"200"), (b":path", b"/")],
    "connection": [(b":status", b"200"), (b"connection", b"close")],
    "upper case": [(b":status", b"200"), (b"X-Upper", b"v")],
    "CR LF": [(b":status", b"200"), (b"x", b"a\r\nset-cookie: b")],
    "content-length list": [(b":status", b"200"), (b"content-length", b"1,1")],
}


@pytest.mark.parametrize("headers", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_a_malformed_response_is_a_protocol_fault_of_that_call(mesh_of: MeshOf, headers: Headers) -> None:
    mesh = mesh_of(1)
    client = mesh.client()
    bad, good = client.call(), client.call()
    mesh.run()
    (server,) = mesh.servers
    server.h2.send_headers(1, headers)
    echo(server, 3)
    mesh.run()
    assert client[bad].get("grpc-status") == "13" and client[bad].get("x-mesh-error") == "upstream_protocol"
    assert client[good].get("grpc-status") == "0" and len(mesh.servers) == 1
