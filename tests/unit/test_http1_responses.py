"""Which heads of HTTP/1 responses are accepted, and how their bodies end (RFC 9112, sections 4 and 6.3)."""

import pytest

from proxy.dataplane.http1inspect import inspect_response
from tests.unit.test_http1_requests import head

OK = "HTTP/1.1 200 OK"
LENGTH = "Content-Length: 5"
CHUNKED = "Transfer-Encoding: chunked"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")

MALFORMED = {
    "nothing": (b"", "CRLF"),
    "HTTP/1.2": (head("HTTP/1.2 200 OK"), "version"),
    "HTTP/2": (head("HTTP/2.0 200 OK"), "version"),
    "another protocol": (head("JTTP/1.1 200 OK"), "version"),
    "short": (head("HTTP/1.1 20"), "status line"),
    "no status": (head("HTTP/1.1"), "status line"),
    "two blanks before the status": (head("HTTP/1.1  200 OK"), "status"),
    "status of two digits": (head("HTTP/1.1 20  OK"), "status"),
    "status of four digits": (head("HTTP/1.1 2000 OK"), "status line"),
    "status with a sign": (head("HTTP/1.1 +20 OK"), "status"),
    "status 099": (head("HTTP/1.1 099 OK"), "status"),
    "status 600": (head("HTTP/1.1 600 OK"), "status"),
    "tab before the reason": (head("HTTP/1.1 200\tOK"), "status line"),
    "NUL in the reason": (head("HTTP/1.1 200 O\0K"), "reason"),
    "CR in the reason": (head("HTTP/1.1 200 O\rK"), "reason"),
    "bare LF": (b"HTTP/1.1 200 OK\n\n", "CRLF"),
    "folded line": (head(OK, "x: y", " z"), "folded"),
    "blank before the colon": (head(OK, "Content-Length : 5"), "field name"),
    "content-length and transfer-encoding": (head(OK, LENGTH, CHUNKED), "both"),
    "content-length twice": (head(OK, LENGTH, LENGTH), "repeated content-length"),
    "content-length list": (head(OK, "Content-Length: 5, 5"), "malformed content-length"),
    "another transfer-encoding": (head(OK, "Transfer-Encoding: gzip, chunked"), "transfer-encoding"),
    "chunked in HTTP/1.0": (head("HTTP/1.0 200 OK", CHUNKED), "transfer-encoding"),
    "chunked 204": (head("HTTP/1.1 204 No Content", CHUNKED), "a body"),
    "204 with a length": (head("HTTP/1.1 204 No Content", LENGTH), "a body"),
    "100 with a length": (head("HTTP/1.1 100 Continue", LENGTH), "a body"),
    "chunked 103": (head("HTTP/1.1 103 Early Hints", CHUNKED), "a body"),
    "101 without upgrade": (head("HTTP/1.1 101 Switching"), "101"),
    "101 without connection": (head("HTTP/1.1 101 Switching", "Upgrade: websocket"), "101"),
    "101 to h2c": (head("HTTP/1.1 101 Switching", "Connection: upgrade", "Upgrade: h2c"), "101"),
    "101 in HTTP/1.0": (head("HTTP/1.0 101 Switching", *UPGRADE), "101"),
    "101 with a length": (head("HTTP/1.1 101 Switching", *UPGRADE, LENGTH), "a body"),
    "connection names a field of the message": (head(OK, "Connection: set-cookie"), "connection names"),
}


@pytest.mark.parametrize("rule", MALFORMED)
def test_malformed(rule: str) -> None:
    data, why = MALFORMED[rule]
    seen = inspect_response(data)
    assert seen["error"] is not None
    assert why in seen["error"]
    assert seen["rendered"] == b""


@pytest.mark.parametrize("field", [LENGTH, CHUNKED])
def test_a_tunnel_has_no_body(field: str) -> None:
    assert inspect_response(head(OK, field), to_connect=True)["error"] == "a body where there can be none"
    assert inspect_response(head("HTTP/1.1 407 No", field), to_connect=True)["error"] is None


BODIES = {
    "length": (head(OK, LENGTH), "length", 5, True),
    "length of 0": (head(OK, "Content-Length: 0"), "none", 0, True),
    "chunked": (head(OK, CHUNKED), "chunked", -1, True),
    "until close": (head(OK), "until close", -1, False),
    "HTTP/1.0 until close": (head("HTTP/1.0 200 OK", "Connection: keep-alive"), "until close", -1, False),
    "HTTP/1.0 that keeps alive": (head("HTTP/1.0 200 OK", "Connection: keep-alive", LENGTH), "length", 5, True),
    "HTTP/1.0 that closes": (head("HTTP/1.0 200 OK", LENGTH), "length", 5, False),
    "close": (head(OK, LENGTH, "Connection: close"), "length", 5, False),
    "204": (head("HTTP/1.1 204 No Content"), "none", -1, True),
    "204 with content-length 0": (head("HTTP/1.1 204 No Content", "Content-Length: 0"), "none", 0, True),
    "205": (head("HTTP/1.1 205 Reset", "Content-Length: 0"), "none", 0, True),
    "304": (head("HTTP/1.1 304 Not Modified"), "none", -1, True),
    "304 with a length": (head("HTTP/1.1 304 Not Modified", LENGTH), "none", 5, True),
    "chunked 304": (head("HTTP/1.1 304 Not Modified", CHUNKED), "none", -1, True),
    "100": (head("HTTP/1.1 100 Continue"), "none", -1, True),
    "103": (head("HTTP/1.1 103 Early Hints", "Link: x"), "none", -1, True),
    "101": (head("HTTP/1.1 101 Switching", *UPGRADE), "none", -1, False),
}


@pytest.mark.parametrize("rule", BODIES)
def test_body(rule: str) -> None:
    data, body, length, keep_alive = BODIES[rule]
    seen = inspect_response(data)
    assert seen["error"] is None
    assert (seen["body"], seen["content_length"], seen["keep_alive"]) == (body, length, keep_alive)
    assert seen["upgrade"] == (seen["status"] == 101)


@pytest.mark.parametrize(
    ("data", "length"), [(head(OK), -1), (head(OK, LENGTH), 5), (head(OK, CHUNKED), -1)], ids=["none", "length", "te"]
)
def test_the_response_to_head_has_no_body(data: bytes, length: int) -> None:
    seen = inspect_response(data, to_head=True)
    assert (seen["body"], seen["content_length"], seen["keep_alive"]) == ("none", length, True)


def test_success_to_connect_is_a_tunnel() -> None:
    for status in (200, 204, 299):
        seen = inspect_response(head(f"HTTP/1.1 {status} Yes"), to_connect=True)
        assert (seen["error"], seen["body"], seen["keep_alive"]) == (None, "none", False)
    assert inspect_response(head("HTTP/1.1 407 No", LENGTH), to_connect=True)["body"] == "length"
    assert inspect_response(head("HTTP/1.1 502 No"), to_connect=True)["body"] == "until close"


@pytest.mark.parametrize("line", [OK, "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 200  \xe9\t!", "HTTP/1.0 200 OK"])
def test_reasons(line: str) -> None:
    seen = inspect_response(head(line, LENGTH))
    assert (seen["error"], seen["status"]) == (None, 200)
    assert seen["rendered"] == head(line, LENGTH)


@pytest.mark.parametrize("status", [100, 199, 200, 299, 300, 404, 500, 599])
def test_statuses(status: int) -> None:
    assert inspect_response(head(f"HTTP/1.1 {status} x"))["status"] == status


def test_host_means_nothing_in_a_response() -> None:
    seen = inspect_response(head(OK, LENGTH, "Host: a b", "Host: c"))
    assert (seen["error"], seen["authority"]) == (None, b"")
