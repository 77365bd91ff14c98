"""Responses that are not what RFC 9113, section 8 allows: their caller gets an error, never a truncated success.

The connection to the endpoint may go on or be closed; calls to other clusters, and later calls to this one, are
answered.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import pytest

from tests.attack import frames
from tests.attack.frames import END_HEADERS, END_STREAM
from tests.attack.hostile import Connection, HostileServer
from tests.attack.scene import Scene, scene
from tests.attack.test_hostile_upstreams import OK_HEADERS, call_status
from tests.support.echo import EchoServer

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
    "PUSH_PROMISE": (
        # Only who has acknowledged our SETTINGS is bound by their ENABLE_PUSH of 0.
        frames.settings_ack() + frames.frame(frames.PUSH_PROMISE, b"\0\0\0\2" + frames.request(), END_HEADERS, 1)
    ),
    "headers of a stream nobody opened": frames.headers(2, OK_HEADERS),
    "data of an idle stream": frames.data(77, b"x"),
    "window overflow": frames.window_update(1, 2**31 - 1) * 2,
    "connection window overflow": frames.window_update(0, 2**31 - 1),
    "more than the window": ok_then(frames.data(1, b"\0\x7f\xff\xff\xff" + bytes(16_000)) * 100),
    "undecodable headers": frames.headers(1, b"\xff\xff\xff\xff\xff\xff"),
    "oversized frame": frames.data(1, bytes(16_385)),
    "absurd settings": frames.settings((frames.INITIAL_WINDOW_SIZE, 2**32 - 1)),
}


ANSWERS = RESPONSES | {"well": ok_then(WHOLE + frames.headers(1, OK_TRAILERS, LAST))}
LOST = {"whole message, close"}  # nothing wrong but the end: 14, all others are faults of the protocol: 13


def answering(answer: bytes, closes: bool) -> Callable[[Connection], None]:
    """A server that answers the first request of a connection, and closes it: at once, or when the call was judged."""

    def behave(connection: Connection) -> None:
        connection.greet()
        connection.request()
        connection.send(answer)
        if not closes:
            # Time to be judged by what was said, not by the close that follows.
            connection.wait_until_closed()

    return behave


def cluster_of(name: str) -> str:
    return f"answer-{list(ANSWERS).index(name)}"


@pytest.fixture(scope="module")
def before_all(echo: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A proxy before a server, and a cluster, for each answer: what one does leaves the others' connections alone."""
    with ExitStack() as stack:
        addresses = {
            cluster_of(name): stack.enter_context(HostileServer(answering(answer, name.endswith(", close")))).address
            for name, answer in ANSWERS.items()
        }
        yield stack.enter_context(scene(echo, tmp_path_factory.mktemp("proxy"), addresses))


@pytest.mark.parametrize("name", RESPONSES)
def test_malformed_response(before_all: Scene, name: str) -> None:
    with before_all.attacked():
        expected = grpc.StatusCode.UNAVAILABLE if name in LOST else grpc.StatusCode.INTERNAL
        assert call_status(before_all.address, cluster_of(name)) == expected


def test_the_same_server_answers_well(before_all: Scene) -> None:
    """What makes the responses above fail is what is wrong with them."""
    with before_all.attacked():
        assert call_status(before_all.address, cluster_of("well")) == grpc.StatusCode.OK
