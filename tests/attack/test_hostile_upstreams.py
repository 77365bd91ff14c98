"""Endpoints that abuse or break HTTP/2: their own callers get an error in time, and nobody else feels them.

"A hostile or broken upstream gets the same care as a hostile client" (semantics: 9).
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import grpc
import pytest

from tests.attack import frames
from tests.attack.hostile import FOREVER_S, PATIENCE_S, Connection, HostileServer
from tests.attack.peer import Attacker
from tests.attack.scene import Scene, scene
from tests.support.echo import CHANNEL_OPTIONS, EchoServer
from tests.support.memory import SANITIZER_BYTES
from tests.support.waiting import wait_until

DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
INTERNAL = grpc.StatusCode.INTERNAL
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
LIMIT_S = 1.0  # of the routes to endpoints that never answer
ANSWERED_WITHIN_S = 15  # failfast is 0.5 s; the rest is for a busy machine
WATCHED_S = 1.5
CONNECTIONS_PER_S = 20  # backoff begins at 100 ms; a server that is lost at once must not be dialled in a hot loop

OK_HEADERS = frames.block([(":status", "200"), ("content-type", "application/grpc")])

Behaviour = Callable[[Connection], None]


def call_status(address: str, cluster: str) -> grpc.StatusCode:
    """The status a caller of a hostile cluster gets; it must come in time."""
    begun_s = time.monotonic()
    with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        try:
            channel.unary_unary(f"/{cluster}/Call")(b"x", timeout=60)
        except grpc.RpcError as error:
            assert time.monotonic() - begun_s < ANSWERED_WITHIN_S, error
            return error.code()
    return grpc.StatusCode.OK


def flooding(batch: Callable[[int], bytes]) -> Behaviour:
    """After a request came, sends `batch` again and again until the proxy closes the connection."""

    def behave(connection: Connection) -> None:
        connection.greet()
        stream = connection.request()
        sent = batch(stream)
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            connection.send(sent)

    return behave


FLOODS: dict[str, Callable[[int], bytes]] = {
    "ping": lambda _: frames.ping() * 100,
    "ping-ack": lambda _: frames.ping(flags=frames.ACK) * 100,
    "settings": lambda _: frames.settings() * 100,
    "priority": lambda stream: frames.priority(stream, 0) * 100,
    "window-update": lambda _: frames.window_update(0, 1) * 100,
    "window-update-of-the-stream": lambda stream: frames.window_update(stream, 1) * 100,
    "unknown-type": lambda _: frames.frame(0xFA, b"?") * 100,
    "goaway": lambda _: frames.goaway(2**31 - 1) * 100,
    "altsvc": lambda stream: frames.frame(0xA, b"\0\0x", 0, stream) * 100,
    "empty-data": lambda stream: frames.headers(stream, OK_HEADERS) + frames.data(stream) * 3000,
    "endless-continuation": lambda stream: (
        frames.headers(stream, OK_HEADERS, 0)
        + frames.frame(frames.CONTINUATION, frames.block([("x-more", "y")]), 0, stream) * 3000
    ),
    "header-bomb": lambda stream: frames.headers(
        stream, OK_HEADERS + b"\x40\x06x-bomb\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 12_000
    ),
    "resets-of-idle-streams": lambda _: frames.reset(1001) * 100,
}


def interim_responses(connection: Connection) -> None:
    connection.greet()
    stream = connection.request()
    interim = frames.headers(stream, frames.block([(":status", "103"), ("link", "x" * 500)])) * 20
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        connection.send(interim)


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
    connection.wait_until_closed(FOREVER_S)


def refusal_of_all(connection: Connection) -> None:
    connection.greet()
    while True:
        connection.send(frames.reset(connection.request(), frames.REFUSED_STREAM))


def close_on_request(connection: Connection) -> None:
    connection.greet()
    connection.request()


USELESS: dict[str, tuple[Behaviour, set[grpc.StatusCode]]] = {
    "garbage": (garbage, {UNAVAILABLE}),
    "http1": (http1, {UNAVAILABLE}),
    "silence": (silence, {UNAVAILABLE}),
    "settings-in-small-pieces": (settings_in_small_pieces, {UNAVAILABLE}),
    "close-at-once": (close_at_once, {UNAVAILABLE}),
    "close-when-ready": (close_when_ready, {UNAVAILABLE, DEADLINE}),
    "goaway-at-once": (goaway_at_once, {UNAVAILABLE, DEADLINE}),
    "goaway-to-each-request": (goaway_to_each_request, {UNAVAILABLE, DEADLINE}),
    "no-streams-allowed": (no_streams, {UNAVAILABLE, DEADLINE}),
    "no-window": (no_window, {DEADLINE}),
    "refusal-of-all": (refusal_of_all, {UNAVAILABLE}),
    "close-on-request": (close_on_request, {UNAVAILABLE}),
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """A proxy before many hostile servers, each the only endpoint of the cluster of its name."""

    scene: Scene
    servers: Mapping[str, HostileServer]


@pytest.fixture(scope="module")
def hostile(echo: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    behaviours: dict[str, Behaviour] = {name: flooding(batch) for name, batch in FLOODS.items()}
    behaviours |= {name: behave for name, (behave, _) in USELESS.items()}
    behaviours["interim-responses"] = interim_responses
    with ExitStack() as stack:
        servers = {name: stack.enter_context(HostileServer(behave)) for name, behave in behaviours.items()}
        addresses = {name: server.address for name, server in servers.items()}
        limited = ("interim-responses", *(name for name, (_, statuses) in USELESS.items() if DEADLINE in statuses))
        limits_s = dict.fromkeys(limited, LIMIT_S)
        running = stack.enter_context(scene(echo, tmp_path_factory.mktemp("proxy"), addresses, limits_s))
        yield Hostile(running, servers)


@pytest.mark.parametrize("name", FLOODS)
def test_flood_by_an_endpoint(hostile: Hostile, name: str) -> None:
    with hostile.scene.attacked():
        assert call_status(hostile.scene.address, name) in {INTERNAL, UNAVAILABLE}
        wait_until(lambda: hostile.servers[name].closed, "the flooding connection closed by the proxy")


@pytest.mark.parametrize("name", USELESS)
def test_useless_endpoint(hostile: Hostile, name: str) -> None:
    with hostile.scene.attacked():
        for _ in range(2):
            assert call_status(hostile.scene.address, name) in USELESS[name][1]


def test_useless_endpoints_are_not_dialled_in_a_hot_loop(hostile: Hostile) -> None:
    """Whatever a server does to its connections: the next one waits a while."""
    before = {name: server.connections for name, server in hostile.servers.items()}
    begun_s = time.monotonic()
    with hostile.scene.attacked():
        time.sleep(WATCHED_S)
        dialled = {name: server.connections - before[name] for name, server in hostile.servers.items()}
        most = CONNECTIONS_PER_S * (time.monotonic() - begun_s)
    assert {name: count for name, count in dialled.items() if count > most} == {}


def test_endless_interim_responses_to_a_client_that_does_not_read(hostile: Hostile) -> None:
    """They must not pile up in the proxy."""
    with hostile.scene.attacked(), Attacker(hostile.scene.address) as client:
        before_bytes = hostile.scene.rss_bytes()
        client.send(frames.call(1, "/interim-responses/Call"), read=False)
        # The route ends the call after a second.
        for _ in range(15):
            time.sleep(0.1)
            assert hostile.scene.rss_bytes() - before_bytes < 10 * 2**20 + SANITIZER_BYTES
