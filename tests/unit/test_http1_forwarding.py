"""What is left of a head when it is forwarded: all but the fields of one connection (RFC 9110, section 7.6.1)."""

import pytest

from proxy.dataplane.http1inspect import inspect_request, inspect_response
from tests.unit.test_http1_requests import get, head


def forwarded(*fields: str, version: str = "HTTP/1.1") -> bytes:
    seen = inspect_request(head(f"GET / {version}", "Host: a", *fields))
    assert seen["error"] is None
    result = seen["rendered"]
    assert isinstance(result, bytes)
    return result


def test_byte_for_byte() -> None:
    fields = ["x-A:b", "x-a:  c \t", "ACCEPT:", "Trailer: Digest", "te_: x", "x_y: \xff", "Transfer-Encoding: chunked"]
    assert forwarded(*fields) == get(*fields)


def test_the_version_stays() -> None:
    assert forwarded("x: y", version="HTTP/1.0") == head("GET / HTTP/1.0", "Host: a", "x: y")


def test_the_target_stays() -> None:
    data = head("GET HTTP://A/b HTTP/1.1", "Host: a")
    assert inspect_request(data)["rendered"] == data


FIELDS: dict[str, tuple[list[str], list[str]]] = {
    "connection": (["Connection: close", "x: y"], ["x: y"]),
    "what connection names": (["X-A: 1", "Connection: x-a, x-b", "x-B: 2", "x-a: 3", "x-c: 4"], ["x-c: 4"]),
    "what the second connection names": (["Connection: x", "X-A: 1", "Connection: x-a"], []),
    "only whole names": (["Connection: x-a", "x-ab: 1", "x: 2"], ["x-ab: 1", "x: 2"]),
    "keep-alive": (["Keep-Alive: timeout=5", "Connection: keep-alive"], []),
    "proxy-connection": (["Proxy-Connection: keep-alive"], []),
    "http2-settings": (["HTTP2-Settings: AAMAAABk", "Connection: HTTP2-Settings"], []),
    "http2-settings, not named": (["HTTP2-Settings: AAMAAABk"], []),
    "upgrade not named by connection": (["Upgrade: websocket"], []),
    "upgrade": (["Connection: Upgrade", "Upgrade: websocket"], ["Upgrade: websocket", "Connection: Upgrade"]),
    "upgrade with a body": (["Connection: Upgrade", "Upgrade: x", "Content-Length: 1"], ["Content-Length: 1"]),
    "upgrade to h2c": (["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"], []),
    "upgrade to h2c and others": (
        ["Connection: keep-alive, upgrade", "upgrade:  H2C ,a/1,h2, b"],
        ["upgrade:  a/1,b", "Connection: Upgrade"],
    ),
    "two upgrades": (
        ["Connection: upgrade", "Upgrade: h2c", "Upgrade: a"],
        ["Upgrade: a", "Connection: Upgrade"],
    ),
    "te: trailers": (["TE: trailers", "Connection: TE"], ["TE: trailers", "Connection: TE"]),
    "te: trailers, not named": (["TE: Trailers"], ["TE: trailers", "Connection: TE"]),
    "te: trailers among others": (["te:gzip;q=0.5,trailers", "x: y"], ["te:trailers", "x: y", "Connection: TE"]),
    "te without trailers": (["TE: gzip", "Connection: te"], []),
    "te and upgrade": (
        ["Connection: TE, Upgrade", "TE: trailers", "Upgrade: a"],
        ["TE: trailers", "Upgrade: a", "Connection: TE, Upgrade"],
    ),
    "expect": (["Expect: 100-continue"], ["Expect: 100-continue"]),
    "trailer": (["Trailer: x"], ["Trailer: x"]),
}


@pytest.mark.parametrize("rule", FIELDS)
def test_what_stays(rule: str) -> None:
    fields, expected = FIELDS[rule]
    assert forwarded(*fields) == get(*expected)


def test_what_is_said_about_the_next_connection() -> None:
    data = get("Connection: x", "TE: trailers")
    assert inspect_request(data, "close")["rendered"] == get("TE: trailers", "Connection: close, TE")
    assert inspect_request(data, "keep-alive")["rendered"] == get("TE: trailers", "Connection: keep-alive, TE")
    assert inspect_request(get(), "close")["rendered"] == get("Connection: close")


def test_switching_protocols_keeps_the_upgrade() -> None:
    data = head("HTTP/1.1 101 Switching", "Connection: upgrade, x", "x: y", "Upgrade: websocket", "Sec-X: z")
    expected = head("HTTP/1.1 101 Switching", "Upgrade: websocket", "Sec-X: z", "Connection: Upgrade")
    assert inspect_response(data)["rendered"] == expected


def test_an_upgrade_that_is_only_offered_is_of_the_connection() -> None:
    fields = ("Connection: Upgrade", "Upgrade: h2c, websocket")
    assert inspect_response(head("HTTP/1.1 200 OK", *fields))["rendered"] == head("HTTP/1.1 200 OK")
    seen = inspect_response(head("HTTP/1.1 426 Upgrade Required", *fields))
    assert seen["rendered"] == head("HTTP/1.1 426 Upgrade Required", "Upgrade: websocket", "Connection: Upgrade")
    assert not seen["upgrade"]


def test_the_answer_to_connect_is_forwarded() -> None:
    data = head("HTTP/1.1 200 Connection established", "Connection: x", "x: y", "Via: z")
    seen = inspect_response(data, to_connect=True)
    assert seen["rendered"] == head("HTTP/1.1 200 Connection established", "Via: z")
