"""Endpoints that abuse or break HTTP/2: their own callers get an error in time, and nobody else feels them.

"A hostile or broken upstream gets the same care as a hostile client" (semantics: 9).
"""

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import grpc
import pytest

from tests.attack import frames
from tests.attack.hostile import Connection, HostileServer
from tests.attack.peer import Attacker
from tests.attack.scene import Scene
from tests.support.echo import CHANNEL_OPTIONS
from tests.support.waiting import wait_until

UNKNOWN, DEADLINE, INTERNAL, UNAVAILABLE, CANCELLED, EXHAUSTED = (
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
ANSWERED_WITHIN_S = 4  # the route's limit is 1 s, failfast 0.5 s; the rest is for a busy machine
WATCHED_S = 1.5
CONNECTIONS_IN_THAT_TIME = (
    30  # backoff begins at 100 ms; a server that is lost at once must not be dialled in a hot loop
)

OK_HEADERS = frames.block([(":status", "200"), ("content-type", "application/grpc")])

StartProxy = Callable[[str], AbstractContextManager[Scene]]


def call_status(address: str) -> grpc.StatusCode:
    """The status a caller of the hostile cluster gets; it must come in time."""
    begun_s = time.monotonic()
    with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        try:
            channel.unary_unary("/hostile/Call")(b"x", timeout=20)
        except grpc.RpcError as error:
            assert time.monotonic() - begun_s < ANSWERED_WITHIN_S, error
            return error.code()
    return grpc.StatusCode.OK


def flooding(batch: Callable[[int], bytes]) -> Callable[[Connection], None]:
    """After a request came, sends `batch` again and again until the proxy closes the connection."""

    def behave(connection: Connection) -> None:
        connection.greet()
        stream = connection.request()
        sent = batch(stream)
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            connection.send(sent)

    return behave


FLOODS: dict[str, Callable[[int], bytes]] = {
    "ping": lambda _: frames.ping() * 100,
    "ping ack": lambda _: frames.ping(flags=frames.ACK) * 100,
    "settings": lambda _: frames.settings() * 100,
    "priority": lambda stream: frames.priority(stream, 0) * 100,
    "window update": lambda _: frames.window_update(0, 1) * 100,
    "window update of the stream": lambda stream: frames.window_update(stream, 1) * 100,
    "unknown type": lambda _: frames.frame(0xFA, b"?") * 100,
    "goaway": lambda _: frames.goaway(2**31 - 1) * 100,
    "altsvc": lambda stream: frames.frame(0xA, b"\0\0x", 0, stream) * 100,
    "empty data": lambda stream: frames.headers(stream, OK_HEADERS) + frames.data(stream) * 3000,
    "endless continuation": lambda stream: (
        frames.headers(stream, OK_HEADERS, 0)
        + frames.frame(frames.CONTINUATION, frames.block([("x-more", "y")]), 0, stream) * 3000
    ),
    "header bomb": lambda stream: frames.headers(
        stream, OK_HEADERS + b"\x40\x06x-bomb\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 12_000
    ),
    "resets of idle streams": lambda _: frames.reset(1001) * 100,
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_by_an_endpoint(proxy_before: StartProxy, name: str) -> None:
    with HostileServer(flooding(FLOODS[name])) as server, proxy_before(server.address) as scene, scene.attacked():
        assert call_status(scene.address) in {INTERNAL, UNAVAILABLE}
        wait_until(lambda: server.closed, "the flooding connection closed by the proxy", 3)


def interim_responses(connection: Connection) -> None:
    connection.greet()
    stream = connection.request()
    interim = frames.headers(stream, frames.block([(":status", "103"), ("link", "x" * 500)])) * 20
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        connection.send(interim)


def test_endless_interim_responses_to_a_client_that_does_not_read(proxy_before: StartProxy) -> None:
    """They must not pile up in the proxy."""
    with HostileServer(interim_responses) as server, proxy_before(server.address) as scene, scene.attacked():
        before_bytes = scene.rss_bytes()
        with Attacker(scene.address) as client:
            client.send(frames.call(1, "/hostile/Call"), read=False)
            deadline_s = time.monotonic() + 2.5
            while time.monotonic() < deadline_s:
                time.sleep(0.1)
                assert scene.rss_bytes() - before_bytes < 20 * 2**20


# ---- connections that come to nothing ----


def garbage(connection: Connection) -> None:
    connection.send(random.Random(2).randbytes(100_000))
    connection.wait_until_closed()


def http1(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    connection.wait_until_closed()


def silence(connection: Connection) -> None:
    connection.wait_until_closed()


def settings_in_small_pieces(connection: Connection) -> None:
    for byte in frames.settings((frames.MAX_FRAME_SIZE, 16_384)):
        connection.send(bytes([byte]))
        time.sleep(0.5)


def close_at_once(_connection: Connection) -> None:
    return


def close_when_ready(connection: Connection) -> None:
    connection.greet()


def goaway_at_once(connection: Connection) -> None:
    connection.greet()
    connection.send(frames.goaway(0, frames.NO_ERROR, b"come again"))


def goaway_to_each_request(connection: Connection) -> None:
    connection.greet()
    connection.request()
    connection.send(frames.goaway(0))
    connection.wait_until_closed(1)


def no_streams(connection: Connection) -> None:
    connection.greet((frames.MAX_CONCURRENT_STREAMS, 0))
    connection.wait_until_closed()


def no_window(connection: Connection) -> None:
    connection.greet((frames.INITIAL_WINDOW_SIZE, 0))
    connection.wait_until_closed()


def refusal_of_all(connection: Connection) -> None:
    connection.greet()
    while True:
        connection.send(frames.reset(connection.request(), frames.REFUSED_STREAM))


def close_on_request(connection: Connection) -> None:
    connection.greet()
    connection.request()


BEHAVIOURS: dict[str, tuple[Callable[[Connection], None], set[grpc.StatusCode]]] = {
    "garbage": (garbage, {UNAVAILABLE}),
    "HTTP/1.1": (http1, {UNAVAILABLE}),
    "silence": (silence, {UNAVAILABLE}),
    "settings in small pieces": (settings_in_small_pieces, {UNAVAILABLE}),
    "close at once": (close_at_once, {UNAVAILABLE}),
    "close when ready": (close_when_ready, {UNAVAILABLE, DEADLINE}),
    "GOAWAY at once": (goaway_at_once, {UNAVAILABLE, DEADLINE}),
    "GOAWAY to each request": (goaway_to_each_request, {UNAVAILABLE, DEADLINE}),
    "no streams allowed": (no_streams, {UNAVAILABLE, DEADLINE}),
    "no window": (no_window, {DEADLINE}),
    "refusal of all": (refusal_of_all, {UNAVAILABLE}),
    "close on request": (close_on_request, {UNAVAILABLE}),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_useless_endpoint(proxy_before: StartProxy, name: str) -> None:
    behave, codes = BEHAVIOURS[name]
    with HostileServer(behave) as server, proxy_before(server.address) as scene, scene.attacked():
        for _ in range(2):
            assert call_status(scene.address) in codes
        connections = server.connections
        time.sleep(WATCHED_S)
        assert server.connections - connections <= CONNECTIONS_IN_THAT_TIME, "dialled in a hot loop"
