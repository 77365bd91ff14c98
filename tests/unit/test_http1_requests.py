"""Which heads of HTTP/1 requests are accepted, and what is understood of them (RFC 9112; semantics: 8 and 11)."""

import string
from typing import Any

import pytest

from proxy.dataplane.http1inspect import inspect_empty_lines, inspect_head_end, inspect_request

HOST = "Host: a"
TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def get(*fields: str) -> bytes:
    return head("GET / HTTP/1.1", HOST, *fields)


def accepted(data: bytes, **limits: int) -> dict[str, Any]:
    seen = inspect_request(data, **limits)
    assert seen["error"] is None
    assert not seen["too_large"]
    return seen


MALFORMED = {
    "nothing": (b"", "CRLF"),
    "only an empty line": (b"\r\n", "CRLF"),
    "no empty line at the end": (b"GET / HTTP/1.1\r\nHost: a\r\n", "CRLF"),
    "no line end": (b"GET / HTTP/1.1", "CRLF"),
    "bytes after the end": (get() + b"x", "after the end"),
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "CRLF"),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n", "CRLF"),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "CRLF"),
    "bare CR in a value": (get("x: a\rb"), "control character"),
    "CR CR LF": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "control character"),
    "NUL in a value": (get("x: a\0b"), "control character"),
    "DEL in a value": (get("x: a\x7fb"), "control character"),
    "vertical tab before chunked": (get("Transfer-Encoding: \x0bchunked"), "control character"),
    "control character after a tab in the same word": (get("x: 1\t34\x015678"), "control character"),
    "empty name": (get(": x"), "field name"),
    "blank before the colon": (get("Content-Length : 5"), "field name"),
    "tab before the colon": (get("Content-Length\t: 5"), "field name"),
    "no colon": (get("Content-Length"), "field name"),
    "8-bit name": (get("x\xe9: y"), "field name"),
    "folded line": (get("x: y", " z"), "folded"),
    "line folded with a tab": (get("x: y", "\tz"), "folded"),
    "blank before the first field": (head("GET / HTTP/1.1", " Host: a"), "folded"),
    # the request line
    "no method": (head(" / HTTP/1.1", HOST), "method"),
    "method with a separator": (head("GE(T / HTTP/1.1", HOST), "method"),
    "method with a control character": (head("G\x01T / HTTP/1.1", HOST), "method"),
    "two blanks before the target": (head("GET  / HTTP/1.1", HOST), "target"),
    "two blanks after the target": (head("GET /  HTTP/1.1", HOST), "target"),
    "tab in place of a blank": (head("GET\t/ HTTP/1.1", HOST), "method"),
    "blank after the version": (head("GET / HTTP/1.1 ", HOST), "request line"),
    "no version": (head("GET /", HOST), "request line"),
    "no target": (head("GET HTTP/1.1", HOST), "request line"),
    "empty target": (head("GET  HTTP/1.1", HOST), "request line"),
    "only a word": (head("GET", HOST), "request line"),
    "version in lower case": (head("GET / http/1.1", HOST), "version"),
    "HTTP/1.2": (head("GET / HTTP/1.2", HOST), "version"),
    "HTTP/2.0": (head("PRI * HTTP/2.0", HOST), "version"),
    "HTTP/0.9": (head("GET / HTTP/0.9", HOST), "version"),
    "HTTP/1.10": (head("GET / HTTP/1.10", HOST), "request line"),
    "HTTP/1,1": (head("GET / HTTP/1,1", HOST), "version"),
    # targets
    "target without its slash": (head("GET x HTTP/1.1", HOST), "target"),
    "target with a fragment": (head("GET /a#b HTTP/1.1", HOST), "target"),
    "target with a control character": (head("GET /a\x01 HTTP/1.1", HOST), "target"),
    "target with an 8-bit character": (head("GET /\xe9 HTTP/1.1", HOST), "target"),
    "target with a tab": (head("GET /a\tb HTTP/1.1", HOST), "target"),
    "asterisk other than in OPTIONS": (head("GET * HTTP/1.1", HOST), "target"),
    "OPTIONS **": (head("OPTIONS ** HTTP/1.1", HOST), "target"),
    "authority other than in CONNECT": (head("GET a:80 HTTP/1.1", HOST), "target"),
    "another scheme": (head("GET ftp://a/ HTTP/1.1", HOST), "target"),
    "no authority": (head("GET http:///x HTTP/1.1", HOST), "target"),
    "a scheme only": (head("GET http:// HTTP/1.1", HOST), "target"),
    "one slash after the scheme": (head("GET http:/a HTTP/1.1", HOST), "target"),
    "userinfo in the target": (head("GET http://u@a/ HTTP/1.1", HOST), "target"),
    "a query but no path": (head("GET http://a?b HTTP/1.1", HOST), "target"),
    "a fragment but no path": (head("GET http://a#b HTTP/1.1", HOST), "target"),
    "a fragment in absolute form": (head("GET http://a/#b HTTP/1.1", HOST), "target"),
    "a bad port in absolute form": (head("GET http://a:b/ HTTP/1.1", HOST), "target"),
    "CONNECT without a port": (head("CONNECT a HTTP/1.1", HOST), "target"),
    "CONNECT with an empty port": (head("CONNECT a: HTTP/1.1", HOST), "target"),
    "CONNECT to a path": (head("CONNECT / HTTP/1.1", HOST), "target"),
    "CONNECT to a URL": (head("CONNECT http://a:80 HTTP/1.1", HOST), "target"),
    "CONNECT with a port too high": (head("CONNECT a:65536 HTTP/1.1", HOST), "target"),
    "CONNECT with userinfo": (head("CONNECT u@a:80 HTTP/1.1", HOST), "target"),
    # Host
    "no host": (head("GET / HTTP/1.1"), "missing host"),
    "no host, absolute form": (head("GET http://a/ HTTP/1.1"), "missing host"),
    "two hosts": (get("Host: a"), "repeated host"),
    "two hosts in HTTP/1.0": (head("GET / HTTP/1.0", HOST, HOST), "repeated host"),
    "empty host": (head("GET / HTTP/1.1", "Host:"), "host"),
    "blank host": (head("GET / HTTP/1.1", "Host:  \t"), "host"),
    "empty host in HTTP/1.0": (head("GET / HTTP/1.0", "Host:"), "host"),
    "host with userinfo": (head("GET / HTTP/1.1", "Host: u@a"), "host"),
    "host with a blank": (head("GET / HTTP/1.1", "Host: a b"), "host"),
    "host with a slash": (head("GET / HTTP/1.1", "Host: a/b"), "host"),
    "host list": (head("GET / HTTP/1.1", "Host: a,b"), "host"),
    "host with two ports": (head("GET / HTTP/1.1", "Host: a:1:2"), "host"),
    "host with a signed port": (head("GET / HTTP/1.1", "Host: a:+1"), "host"),
    "host with an empty port": (head("GET / HTTP/1.1", "Host: a:"), "host"),
    "host that is only a port": (head("GET / HTTP/1.1", "Host: :80"), "host"),
    "host with an unclosed bracket": (head("GET / HTTP/1.1", "Host: [::1"), "host"),
    "host with a bracket inside": (head("GET / HTTP/1.1", "Host: a[::1]"), "host"),
    "host with something after its bracket": (head("GET / HTTP/1.1", "Host: [::1]x"), "host"),
    "host with empty brackets": (head("GET / HTTP/1.1", "Host: []"), "host"),
    "host with words in brackets": (head("GET / HTTP/1.1", "Host: [xyz]"), "host"),
    "host with an 8-bit character": (head("GET / HTTP/1.1", "Host: \xe9"), "host"),
    "host differs from the absolute form": (head("GET http://b/ HTTP/1.1", HOST), "differs"),
    "host has a port, the absolute form none": (head("GET http://a/ HTTP/1.1", "Host: a:80"), "differs"),
    "host lacks the port of the absolute form": (head("GET http://a:80/ HTTP/1.1", HOST), "differs"),
    "host differs from CONNECT's target": (head("CONNECT b:80 HTTP/1.1", HOST), "differs"),
    "host has another port than CONNECT's target": (head("CONNECT a:80 HTTP/1.1", "Host: a:81"), "differs"),
    # framing
    "content-length and transfer-encoding": (get("Content-Length: 1", "Transfer-Encoding: chunked"), "both"),
    "transfer-encoding and content-length 0": (get("Transfer-Encoding: chunked", "Content-Length: 0"), "both"),
    "content-length twice": (get("Content-Length: 1", "content-length: 1"), "repeated content-length"),
    "content-length list": (get("Content-Length: 1, 1"), "malformed content-length"),
    "empty content-length": (get("Content-Length:"), "malformed content-length"),
    "content-length with a plus": (get("Content-Length: +1"), "malformed content-length"),
    "content-length with a minus": (get("Content-Length: -1"), "malformed content-length"),
    "hexadecimal content-length": (get("Content-Length: 0x1"), "malformed content-length"),
    "content-length with a blank": (get("Content-Length: 1 1"), "malformed content-length"),
    "content-length of 2**63": (get("Content-Length: 9223372036854775808"), "malformed content-length"),
    "content-length of 2**64 + 1": (get("Content-Length: 18446744073709551617"), "malformed content-length"),
    "content-length before a tab": (get("Content-Length: 1\t"), "malformed content-length"),
    "chunked after a tab": (get("Transfer-Encoding:\tchunked"), "transfer-encoding"),
    "another transfer-encoding": (get("Transfer-Encoding: gzip"), "transfer-encoding"),
    "gzip, chunked": (get("Transfer-Encoding: gzip, chunked"), "transfer-encoding"),
    "chunked, identity": (get("Transfer-Encoding: chunked, identity"), "transfer-encoding"),
    "chunked twice in a list": (get("Transfer-Encoding: chunked, chunked"), "transfer-encoding"),
    "chunked and a comma": (get("Transfer-Encoding: chunked,"), "transfer-encoding"),
    "chunked with a parameter": (get("Transfer-Encoding: chunked;q=1"), "transfer-encoding"),
    "quoted chunked": (get('Transfer-Encoding: "chunked"'), "transfer-encoding"),
    "xchunked": (get("Transfer-Encoding: xchunked"), "transfer-encoding"),
    "empty transfer-encoding": (get("Transfer-Encoding:"), "transfer-encoding"),
    "transfer-encoding twice": (get("Transfer-Encoding: chunked", "transfer-encoding: chunked"), "transfer-encoding"),
    "chunked in HTTP/1.0": (head("POST / HTTP/1.0", "Transfer-Encoding: chunked"), "transfer-encoding"),
    "CONNECT with a length": (head("CONNECT a:80 HTTP/1.1", "Host: a:80", "Content-Length: 1"), "CONNECT"),
    "CONNECT with chunks": (head("CONNECT a:80 HTTP/1.1", "Host: a:80", "Transfer-Encoding: chunked"), "CONNECT"),
    # lists
    "connection option that is no token": (get("Connection: close; x"), "malformed connection"),
    "quoted connection option": (get('Connection: "close"'), "malformed connection"),
    "upgrade that is no token": (get("Upgrade: a b"), "malformed upgrade"),
    "upgrade with an empty version": (get("Upgrade: a/"), "malformed upgrade"),
    "upgrade with two versions": (get("Upgrade: a/1/2"), "malformed upgrade"),
}


@pytest.mark.parametrize("rule", MALFORMED)
def test_malformed(rule: str) -> None:
    data, why = MALFORMED[rule]
    seen = inspect_request(data)
    assert seen["error"] is not None
    assert why in seen["error"]
    assert seen["rendered"] == b""


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Trailer",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Expect",
        "Cache-Control",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
    ],
)
def test_connection_may_not_name_a_field_of_the_message(name: str) -> None:
    for connection in (name, name.lower(), f"close, {name.upper()}"):
        assert inspect_request(get(f"Connection: {connection}"))["error"] == ("connection names a field of the message")


REQUESTS: dict[str, tuple[bytes, dict[str, object]]] = {
    "origin form": (
        head("GET /a/b?c=d HTTP/1.1", "Host: a:80"),
        {"method": b"GET", "target": b"/a/b?c=d", "path": b"/a/b?c=d", "authority": b"a:80", "minor": 1, "status": 0}
        | {"body": "none", "content_length": -1, "keep_alive": True, "upgrade": False, "absolute": False},
    ),
    "path of two slashes": (head("GET //a HTTP/1.1", HOST), {"path": b"//a", "authority": b"a", "absolute": False}),
    "a URL in the query": (head("GET /?u=http://b/ HTTP/1.1", HOST), {"authority": b"a", "absolute": False}),
    "absolute form": (
        head("GET http://A.b:80/c?d HTTP/1.1", "Host: a.B:80"),
        {"absolute": True, "authority": b"A.b:80", "path": b"/c?d", "target": b"http://A.b:80/c?d"},
    ),
    "absolute form with https, in capitals": (
        head("GET HTTPS://a/ HTTP/1.1", HOST),
        {"absolute": True, "authority": b"a", "path": b"/"},
    ),
    "absolute form without a path": (head("GET http://a HTTP/1.1", HOST), {"authority": b"a", "path": b"/"}),
    "absolute form, empty host": (head("GET http://a/ HTTP/1.1", "Host:"), {"authority": b"a"}),
    "absolute form in HTTP/1.0, no host": (head("GET http://a/b HTTP/1.0"), {"authority": b"a", "path": b"/b"}),
    "OPTIONS *": (head("OPTIONS * HTTP/1.1", HOST), {"path": b"*", "authority": b"a", "idempotent": True}),
    "OPTIONS of a URL without a path": (head("OPTIONS http://a HTTP/1.1", HOST), {"path": b"*", "authority": b"a"}),
    "CONNECT": (
        head("CONNECT a.b:443 HTTP/1.1", "Host: a.b:443"),
        {"is_connect": True, "authority": b"a.b:443", "path": b"", "idempotent": False, "body": "none"},
    ),
    "CONNECT, host without the port": (head("CONNECT a:443 HTTP/1.1", HOST), {"authority": b"a:443"}),
    "CONNECT to an IPv6 address": (head("CONNECT [::1]:443 HTTP/1.1", "Host: [::1]"), {"authority": b"[::1]:443"}),
    "CONNECT with content-length 0": (
        head("CONNECT a:1 HTTP/1.1", "Host: a:1", "Content-Length: 0"),
        {"body": "none", "content_length": 0},
    ),
    "IPv6 host": (head("GET / HTTP/1.1", "Host: [fe80::1.2.3.4]:80"), {"authority": b"[fe80::1.2.3.4]:80"}),
    "host with an underscore": (head("GET / HTTP/1.1", "Host: a_b"), {"authority": b"a_b"}),
    "host between blanks": (head("GET / HTTP/1.1", "Host: \t a \t"), {"authority": b"a"}),
    "HTTP/1.0 without a host": (head("GET / HTTP/1.0"), {"minor": 0, "authority": b"", "keep_alive": False}),
    "HTTP/1.0 that keeps alive": (head("GET / HTTP/1.0", "Connection: Keep-Alive"), {"keep_alive": True}),
    "HTTP/1.0, keep-alive and close": (head("GET / HTTP/1.0", "Connection: keep-alive, close"), {"keep_alive": False}),
    "close": (get("Connection: x, Close"), {"keep_alive": False}),
    "close in the second field": (get("Connection: x", "connection: close"), {"keep_alive": False}),
    "closed is not close": (get("Connection: closed, x-close"), {"keep_alive": True}),
    "close without Connection": (get("Close: close"), {"keep_alive": True}),
    "empty connection": (get("Connection:", "Connection: ,, ,"), {"keep_alive": True}),
    "HEAD": (head("HEAD / HTTP/1.1", HOST), {"is_head": True, "idempotent": True}),
    "PUT": (head("PUT / HTTP/1.1", HOST), {"is_head": False, "idempotent": True}),
    "DELETE": (head("DELETE / HTTP/1.1", HOST), {"idempotent": True}),
    "TRACE": (head("TRACE / HTTP/1.1", HOST), {"idempotent": True}),
    "POST": (head("POST / HTTP/1.1", HOST), {"idempotent": False, "body": "none"}),
    "methods are told apart by case": (head("get / HTTP/1.1", HOST), {"method": b"get", "idempotent": False}),
    "any token is a method": (head(f"{TOKEN_CHARACTERS} / HTTP/1.1", HOST), {"method": TOKEN_CHARACTERS.encode()}),
    "length": (get("Content-Length: 5"), {"body": "length", "content_length": 5}),
    "length of 0": (get("Content-Length: 0"), {"body": "none", "content_length": 0}),
    "length with zeros in front": (get("Content-Length: 007"), {"body": "length", "content_length": 7}),
    "the greatest length": (get("Content-Length: 9223372036854775807"), {"content_length": 2**63 - 1}),
    "length between blanks": (get("CONTENT-LENGTH:  5  "), {"content_length": 5}),
    "content_length is another field": (get("Content_Length: 5"), {"body": "none", "content_length": -1}),
    "chunked": (get("Transfer-Encoding: chunked"), {"body": "chunked", "content_length": -1}),
    "Chunked": (get("transfer-encoding:  ChunkeD "), {"body": "chunked"}),
    "expects 100-continue": (get("Expect: 100-Continue"), {"expects_continue": True}),
    "expects something else": (get("Expect: 100-continued"), {"expects_continue": False}),
    "HTTP/1.0 expects nothing": (head("GET / HTTP/1.0", "Expect: 100-continue"), {"expects_continue": False}),
    "upgrade": (get("Connection: upgrade", "Upgrade: websocket"), {"upgrade": True, "keep_alive": True}),
    "upgrade not named by connection": (get("Upgrade: websocket"), {"upgrade": False}),
    "upgrade to h2c": (get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"), {"upgrade": False}),
    "upgrade to h2c or websocket": (get("Connection: upgrade", "Upgrade: h2c, websocket"), {"upgrade": True}),
    "upgrade to a version": (get("Connection: upgrade", "Upgrade: TLS/1.0"), {"upgrade": True}),
    "upgrade in HTTP/1.0": (head("GET / HTTP/1.0", "Connection: upgrade", "Upgrade: x"), {"upgrade": False}),
    "upgrade in CONNECT": (
        head("CONNECT a:1 HTTP/1.1", "Host: a:1", "Connection: upgrade", "Upgrade: x"),
        {"upgrade": False},
    ),
    "upgrade with a body": (get("Connection: upgrade", "Upgrade: x", "Content-Length: 1"), {"upgrade": False}),
    "empty upgrade": (get("Connection: upgrade", "Upgrade:"), {"upgrade": False}),
    "8-bit and tab in a value": (get("x: \xe9\t\xff"), {"keep_alive": True}),
    "value without a blank before it": (get("x:y"), {"keep_alive": True}),
}


@pytest.mark.parametrize("rule", REQUESTS)
def test_understood(rule: str) -> None:
    data, expected = REQUESTS[rule]
    seen = accepted(data)
    assert {name: seen[name] for name in expected} == expected


def test_names_are_tokens() -> None:
    line = b"GET / HTTP/1.1\r\nHost: a\r\nx%cy: z\r\n\r\n"
    good = {chr(code) for code in range(256) if inspect_request(line % code)["error"] is None}
    assert good == {*TOKEN_CHARACTERS, ":"}  # a colon ends the name, and what follows is its value


@pytest.mark.parametrize("before", range(9))  # wherever it is in a word of eight bytes
def test_values_have_no_control_character_but_the_tab(before: int) -> None:
    line = b"GET / HTTP/1.1\r\nHost: a\r\nx:" + b"a" * before + b"%cbcdefghijk\r\n\r\n"
    good = {code for code in range(256) if inspect_request(line % code)["error"] is None}
    assert good == {9, *range(0x20, 0x7F), *range(0x80, 0x100)}


def test_limit_on_fields() -> None:
    data = get(*["x: y"] * 9)
    accepted(data, max_fields=10)
    seen = inspect_request(data, max_fields=9)
    assert seen["too_large"]
    assert seen["error"] is None
    assert seen["rendered"] == b""


def test_limit_on_bytes() -> None:
    accepted(get(), max_bytes=len(get()))
    assert inspect_request(get(), max_bytes=len(get()) - 1)["too_large"]


def test_limit_on_connection_options() -> None:
    accepted(get("Connection: " + "a," * 100), max_fields=100)
    assert inspect_request(get("Connection: " + "a," * 101), max_fields=100)["too_large"]


def test_many_fields() -> None:
    fields = [f"x-{i}: {i}" for i in range(5000)]
    seen = accepted(get(*fields), max_fields=5001, max_bytes=1 << 20)
    assert seen["rendered"] == get(*fields)


HEAD_ENDS = {
    "not there": (b"GET / HTTP/1.1\r\nHost: a\r\n", 0),
    "nothing": (b"", 0),
    "there": (get(), len(get())),
    "something after it": (get() + b"\0\n", len(get())),
    "CR that waits": (b"GET / HTTP/1.1\r", 0),
    "CR of the last line waits": (get()[:-1], 0),
    "only a CR": (b"\r", 0),
    "an empty line first": (b"\r\n" + get(), -1),
    "bare LF": (b"GET / HTTP/1.1\n", -1),
    "bare LF in a field": (b"GET / HTTP/1.1\r\nHost: a\n", -1),
    "bare LF in the last line": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", -1),
    "LF at the start": (b"\n", -1),
    "bare CR": (b"GET\r/", -1),
    "CR CR": (b"GET / HTTP/1.1\r\r\n", -1),
    "NUL": (b"GET /\0", -1),
    "DEL": (b"GET /\x7f", -1),
    "control character in a finished line": (b"GET /\x01 HTTP/1.1\r\n", -1),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", -1),
}


@pytest.mark.parametrize("rule", HEAD_ENDS)
def test_head_end(rule: str) -> None:
    data, end = HEAD_ENDS[rule]
    assert inspect_head_end([data]) == end
    assert inspect_head_end([data[i : i + 1] for i in range(len(data))]) == end


@pytest.mark.parametrize(("data", "length"), [(b"", 0), (b"\r", 0), (b"\r\n\r\n\rG", 4), (b"\nG", 0), (b"G\r\n", 0)])
def test_empty_lines_before_a_request(data: bytes, length: int) -> None:
    assert inspect_empty_lines(data) == length
