"""An independent parser (llhttp, by httptools) reads what ours forwards in the way that ours understood it.

A message that ours refuses, or that llhttp cannot know (other methods), is passed over: `comparable` says which.
"""

from dataclasses import dataclass, field
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dataplane.http1inspect import inspect_chunks, inspect_request, inspect_response
from tests.unit import test_http1_chunks, test_http1_requests, test_http1_responses
from tests.unit.test_http1_properties import CHUNKS, REQUESTS, RESPONSES, mutated
from tests.unit.test_http1_requests import head

METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"}
CHUNKED_BODY = b"5\r\nhello\r\n0\r\nDigest: x\r\n\r\n"
NEXT_REQUEST = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
NEXT_RESPONSE = b"HTTP/1.1 234 next\r\nContent-Length: 0\r\n\r\n"


REQUEST_LINES = [
    "GET / HTTP/1.1",
    "POST /a?b HTTP/1.1",
    "HEAD http://a/b HTTP/1.1",
    "PUT / HTTP/1.0",
    "OPTIONS * HTTP/1.1",
]
STATUS_LINES = [
    "HTTP/1.1 200 OK",
    "HTTP/1.1 304",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 101 x",
    "HTTP/1.1 204 x",
    "HTTP/1.1 426 x",
]
NAMES = ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Expect", "x", "Keep-Alive", "Trailer"]
VALUES = [
    "5",
    " 0",
    " chunked",
    " close",
    "keep-alive",
    " upgrade",
    "x",
    " h2c",
    " websocket, h2c",
    " trailers",
    " a\tb",
]
VALUES += ["", " ,x,", "100-continue", " close , keep-alive\t", "chunked ", "CHUNKED", " x\xff"]
FIELDS = st.builds("{}:{}".format, st.sampled_from(NAMES), st.sampled_from(VALUES))


def plausible(line: str, fields: list[str]) -> bytes:
    return head(line, "Host: a", *fields)


@dataclass
class Message:
    """One message, as llhttp understood it."""

    start: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    head_complete: bool = False
    keep_alive: bool = False
    complete: bool = False


class Reading:
    """All that llhttp made of some bytes; `tunnel` is where it took them to be no longer HTTP."""

    def __init__(self, kind: type, data: bytes) -> None:
        self.messages: list[Message] = []
        self.tunnel: int | None = None
        self.parser = kind(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.tunnel = upgrade.args[0]

    def on_message_begin(self) -> None:
        self.messages.append(Message())

    def on_url(self, url: bytes) -> None:
        self.messages[-1].start += url

    def on_status(self, reason: bytes) -> None:
        self.messages[-1].start += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        message = self.messages[-1]
        (message.trailers if message.head_complete else message.fields).append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.messages[-1].head_complete = True
        self.messages[-1].keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True


def fields_of(data: bytes) -> list[tuple[bytes, bytes]]:
    lines = data.split(b"\r\n")[1:-2]
    return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]


def body_for(seen: dict[str, Any]) -> tuple[bytes, bytes]:
    """A body as the head announces it: its bytes on the wire, and the payload."""
    if seen["body"] == "length":
        return (b"x" * seen["content_length"],) * 2
    if seen["body"] == "chunked":
        return CHUNKED_BODY, b"hello"
    return (b"until the end",) * 2 if seen["body"] == "until close" else (b"", b"")


def comparable(seen: dict[str, Any]) -> bool:
    accepted = seen["error"] is None and not seen["too_large"]
    return accepted and (seen["status"] or seen["method"] in METHODS) and seen["content_length"] < 10_000


def check_request(data: bytes) -> None:
    seen = inspect_request(data)
    if not comparable(seen):
        return
    body, payload = body_for(seen)
    rendered = seen["rendered"]
    again = inspect_request(rendered)
    following = NEXT_REQUEST if again["keep_alive"] else b""
    reading = Reading(httptools.HttpRequestParser, rendered + body + following)
    first = reading.messages[0]
    assert first.complete
    assert (first.start, first.fields, first.body) == (seen["target"], fields_of(rendered), payload)
    assert (reading.tunnel is not None) == (seen["upgrade"] or seen["is_connect"])
    if reading.tunnel is None:
        assert first.keep_alive == again["keep_alive"]
        assert [message.start for message in reading.messages[1:]] == [b"/next"] * again["keep_alive"]
    else:
        assert reading.tunnel == len(rendered)


@pytest.mark.parametrize("rule", test_http1_requests.REQUESTS)
def test_a_request_that_is_accepted(rule: str) -> None:
    data, _ = test_http1_requests.REQUESTS[rule]
    check_request(data)


@given(mutated(REQUESTS) | st.builds(plausible, st.sampled_from(REQUEST_LINES), st.lists(FIELDS, max_size=6)))
def test_any_request_that_is_accepted(data: bytes) -> None:
    check_request(data)


def check_response(data: bytes) -> None:
    """Responses to GET: llhttp is not told of HEAD and CONNECT."""
    seen = inspect_response(data)
    if not comparable(seen):
        return
    body, payload = body_for(seen)
    rendered = seen["rendered"]
    again = inspect_response(rendered)
    following = NEXT_RESPONSE if again["keep_alive"] else b""
    reading = Reading(httptools.HttpResponseParser, rendered + body + following)
    first = reading.messages[0]
    assert (first.fields, first.body) == (fields_of(rendered), payload)
    assert (reading.tunnel is not None) == seen["upgrade"]
    assert first.complete == (seen["body"] != "until close")
    if reading.tunnel is None:
        assert first.keep_alive == again["keep_alive"]
        assert [message.start for message in reading.messages[1:]] == [b"next"] * again["keep_alive"]
    else:
        assert reading.tunnel == len(rendered)


@pytest.mark.parametrize("rule", test_http1_responses.BODIES)
def test_a_response_that_is_accepted(rule: str) -> None:
    check_response(test_http1_responses.BODIES[rule][0])


@given(mutated(RESPONSES) | st.builds(plausible, st.sampled_from(STATUS_LINES), st.lists(FIELDS, max_size=6)))
def test_any_response_that_is_accepted(data: bytes) -> None:
    check_response(data)


def check_chunks(data: bytes) -> None:
    length, payload, done, _ = inspect_chunks([data])
    if not done:
        return
    head_bytes = head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")
    reading = Reading(httptools.HttpRequestParser, head_bytes + data[:length] + NEXT_REQUEST)
    assert [message.complete for message in reading.messages] == [True, True]
    assert (len(reading.messages[0].body), reading.messages[1].start) == (payload, b"/next")


@pytest.mark.parametrize("rule", test_http1_chunks.GOOD)
def test_a_chunked_body_that_is_accepted(rule: str) -> None:
    check_chunks(test_http1_chunks.GOOD[rule][0])


@given(mutated(CHUNKS))
def test_any_chunked_body_that_is_accepted(data: bytes) -> None:
    check_chunks(data)


@given(st.data())
def test_the_oracle_itself_can_disagree(data: st.DataObject) -> None:
    """A body longer than announced is not the same reading: the checks above would see it."""
    extra = data.draw(st.integers(1, 5))
    with pytest.raises(httptools.HttpParserError):
        Reading(httptools.HttpRequestParser, test_http1_requests.get("Content-Length: 1") + b"x" * (1 + extra))
