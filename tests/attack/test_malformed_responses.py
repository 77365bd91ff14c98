"""Responses that are not what RFC 9113, section 8 allows: their caller gets an error, never a truncated success.

The connection to the endpoint may go on or be closed; calls to other clusters, and later calls to this one, are
answered.
"""

import grpc
import pytest

from tests.attack import frames
from tests.attack.frames import END_HEADERS, END_STREAM
from tests.attack.hostile import Connection, HostileServer
from tests.attack.test_hostile_upstreams import (
    CANCELLED,
    INTERNAL,
    OK_HEADERS,
    UNAVAILABLE,
    UNKNOWN,
    StartProxy,
    call_status,
)

LAST = END_HEADERS | END_STREAM
OK_TRAILERS = frames.block([("grpc-status", "0")])
STATUS = (":status", "200")
GRPC = ("content-type", "application/grpc")


def response(*fields: tuple[str, str], rest: bytes = b"") -> bytes:
    """Headers of stream 1 from `fields`, then a message and trailers that say OK (or `rest`)."""
    ending = rest or frames.data(1, frames.message(b"x")) + frames.headers(1, OK_TRAILERS, LAST)
    return frames.headers(1, frames.block(fields)) + ending


def ok_then(rest: bytes) -> bytes:
    return frames.headers(1, OK_HEADERS) + rest


TRUNCATED = frames.data(1, frames.message(b"more than this")[:8])
WHOLE = frames.data(1, frames.message(b"x"))

# What a server answers to stream 1.
RESPONSES = {
    "upper-case header": response(STATUS, GRPC, ("X-Upper", "1")),
    "connection": response(STATUS, GRPC, ("connection", "close")),
    "keep-alive": response(STATUS, GRPC, ("keep-alive", "timeout=5")),
    "transfer-encoding": response(STATUS, GRPC, ("transfer-encoding", "chunked")),
    "upgrade": response(STATUS, GRPC, ("upgrade", "h2c")),
    "no status": response(GRPC),
    "status twice": response(STATUS, STATUS, GRPC),
    "status late": response(GRPC, STATUS),
    "status of letters": response((":status", "abc"), GRPC),
    "status of two digits": response((":status", "20"), GRPC),
    "status 99999": response((":status", "99999"), GRPC),
    "a request's pseudo-header": response(STATUS, (":path", "/"), GRPC),
    "unknown pseudo-header": response(STATUS, (":state", "good"), GRPC),
    "line feed in a value": response(STATUS, GRPC, ("x-split", "a\r\nb: c")),
    "NUL in a value": response(STATUS, GRPC, ("x-nul", "a\0b")),
    "blank in a name": response(STATUS, GRPC, ("x y", "1")),
    "empty name": response(STATUS, GRPC, ("", "1")),
    "101": response((":status", "101"), GRPC),
    "interim that ends": frames.headers(1, frames.block([(":status", "103")]), LAST),
    "data before headers": WHOLE + frames.headers(1, OK_HEADERS, LAST),
    "more than content-length": response(STATUS, GRPC, ("content-length", "3")),
    "less than content-length": response(STATUS, GRPC, ("content-length", "300")),
    "content-length twice": response(STATUS, GRPC, ("content-length", "6"), ("content-length", "7")),
    "negative content-length": response(STATUS, GRPC, ("content-length", "-6")),
    "pseudo-header in trailers": ok_then(WHOLE + frames.headers(1, frames.block([STATUS]), LAST)),
    "upper case in trailers": ok_then(WHOLE + frames.headers(1, frames.block([("Grpc-Status", "0")]), LAST)),
    "trailers that do not end": ok_then(WHOLE + frames.headers(1, OK_TRAILERS)),
    "101 fields": response(STATUS, GRPC, *[(f"x-{n}", "1") for n in range(100)]),
    "truncated message, OK": ok_then(TRUNCATED + frames.headers(1, OK_TRAILERS, LAST)),
    "truncated message, end": ok_then(TRUNCATED + frames.data(1, b"", END_STREAM)),
    "truncated message, close": ok_then(TRUNCATED),
    "whole message, close": ok_then(WHOLE),
    "reset after headers": ok_then(frames.reset(1, frames.INTERNAL_ERROR)),
    "reset amid a message": ok_then(TRUNCATED + frames.reset(1, frames.NO_ERROR)),
    "reset with an unknown code": frames.reset(1, 0xDEADBEEF),
    "PUSH_PROMISE": frames.frame(frames.PUSH_PROMISE, b"\0\0\0\2" + frames.request(), END_HEADERS, 1),
    "headers of a stream nobody opened": frames.headers(2, OK_HEADERS),
    "data of an idle stream": frames.data(77, b"x"),
    "window overflow": frames.window_update(1, 2**31 - 1) * 2,
    "connection window overflow": frames.window_update(0, 2**31 - 1),
    "more than the window": ok_then(frames.data(1, b"\0\x7f\xff\xff\xff" + bytes(16_000)) * 100),
    "undecodable headers": frames.headers(1, b"\xff\xff\xff\xff\xff\xff"),
    "oversized frame": frames.data(1, bytes(16_385)),
    "absurd settings": frames.settings((frames.INITIAL_WINDOW_SIZE, 2**32 - 1)),
}


class Answers:
    """A server that answers the first request of each connection with `answer`, then closes."""

    def __init__(self) -> None:
        self.answer = b""

    def __call__(self, connection: Connection) -> None:
        connection.greet()
        connection.request()
        connection.send(self.answer)
        # Time to be judged by what was said, not by the close that follows.
        connection.wait_until_closed(0.1)


def test_malformed_responses(proxy_before: StartProxy) -> None:
    """All of them, one after another through one proxy; what is wrong is told together at the end."""
    answers = Answers()
    wrong: dict[str, grpc.StatusCode] = {}
    with HostileServer(answers) as server, proxy_before(server.address) as scene, scene.attacked():
        for name, answer in RESPONSES.items():
            answers.answer = answer
            status = call_status(scene.address)
            if status not in {INTERNAL, UNAVAILABLE, UNKNOWN, CANCELLED}:
                wrong[name] = status
    assert wrong == {}


@pytest.mark.parametrize("answer", [ok_then(WHOLE + frames.headers(1, OK_TRAILERS, LAST))])
def test_the_same_server_answers_well(proxy_before: StartProxy, answer: bytes) -> None:
    """What makes the responses above fail is what is wrong with them."""
    answers = Answers()
    answers.answer = answer
    with HostileServer(answers) as server, proxy_before(server.address) as scene, scene.attacked():
        assert call_status(scene.address) == grpc.StatusCode.OK
