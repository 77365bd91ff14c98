"""Clients that make the proxy start work and throw it away: rapid reset and MadeYouReset (semantics: 9).

Rapid reset (CVE-2023-44487): the client resets what it has just asked for. MadeYouReset (CVE-2025-8671): it sends a
frame that makes the *server* reset the stream. Either may end with a reset of each stream until the budget is spent, or
at once where libnghttp2 calls the frame a fault of the whole connection; what counts is that it ends, and that nobody
else feels it.
"""

from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest

from tests.attack import frames
from tests.attack.peer import Attacker
from tests.attack.scene import Scene

BATCH = 50  # streams in one send
BATCHES = 1000


def batches(one: Callable[[int], bytes]) -> Iterator[bytes]:
    """What `one` makes of ever new stream ids, many at a time."""
    for first in islice(count(1, 2 * BATCH), BATCHES):
        yield b"".join(one(stream) for stream in range(first, first + 2 * BATCH, 2))


REQUEST = frames.request(frames.CHAT)


def opened(stream: int) -> bytes:
    return frames.headers(stream, REQUEST)


RAPID = {
    "headers": lambda stream: opened(stream) + frames.reset(stream),
    "whole requests": lambda stream: frames.call(stream) + frames.reset(stream),
    "with NO_ERROR": lambda stream: opened(stream) + frames.reset(stream, frames.NO_ERROR),
    "with a code nobody knows": lambda stream: opened(stream) + frames.reset(stream, 0xDEADBEEF),
    "no route to it": lambda stream: frames.headers(stream, frames.request("/")) + frames.reset(stream),
}


@pytest.mark.parametrize("name", RAPID)
def test_rapid_reset(attacked_proxy: Scene, name: str) -> None:
    with attacked_proxy.attacked(cut_as="resets"), Attacker(attacked_proxy.address) as attacker:
        attacker.flood(batches(RAPID[name]))
        assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]


def test_rapid_reset_a_little_later(attacked_proxy: Scene) -> None:
    """Streams live for a moment, so that each reaches the endpoint before it is reset."""
    with attacked_proxy.attacked(cut_as="resets"), Attacker(attacked_proxy.address) as attacker:

        def in_turns() -> Iterator[bytes]:
            for first in islice(count(1, 2 * BATCH), BATCHES):
                streams = range(first, first + 2 * BATCH, 2)
                yield b"".join(map(opened, streams))
                attacker.read_for(0.005)
                yield b"".join(map(frames.reset, streams))

        attacker.flood(in_turns())
        assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]


# Frames that make the server reset the stream, or end the connection.
MADE = {
    "window update of 0": lambda stream: opened(stream) + frames.window_update(stream, 0),
    "window overflow": lambda stream: opened(stream) + frames.window_update(stream, 2**31 - 1),
    "data after the end": lambda stream: frames.call(stream) + frames.data(stream, b"more"),
    "headers after the end": lambda stream: frames.call(stream) + opened(stream),
    "priority of a wrong length": lambda stream: opened(stream) + frames.frame(frames.PRIORITY, b"1234", 0, stream),
    "reset of a wrong length": lambda stream: opened(stream) + frames.frame(frames.RST_STREAM, b"123", 0, stream),
    "more data than content-length": lambda stream: (
        frames.headers(stream, frames.request(frames.CHAT, ("content-length", "3"))) + frames.data(stream, b"12345")
    ),
    "less data than content-length": lambda stream: (
        frames.headers(stream, frames.request(frames.CHAT, ("content-length", "3")))
        + frames.data(stream, b"1", frames.END_STREAM)
    ),
    "trailers that do not end the stream": lambda stream: (
        opened(stream) + frames.headers(stream, frames.block([("x-late", "1")]))
    ),
    "pseudo-header in trailers": lambda stream: (
        opened(stream) + frames.headers(stream, frames.block([(":path", "/")]), frames.END_HEADERS | frames.END_STREAM)
    ),
    "upper-case header": lambda stream: frames.headers(stream, frames.request(frames.CHAT, ("X-Upper", "1"))),
    "connection header": lambda stream: frames.headers(stream, frames.request(frames.CHAT, ("connection", "close"))),
    "content-length twice": lambda stream: frames.headers(
        stream, frames.request(frames.CHAT, ("content-length", "1"), ("content-length", "2"))
    ),
    "no path": lambda stream: frames.headers(stream, frames.block([(":method", "GET"), (":scheme", "http")])),
    "a path with a blank": lambda stream: frames.headers(stream, frames.request("/a b")),
}


@pytest.mark.parametrize("name", MADE)
def test_made_you_reset(attacked_proxy: Scene, name: str) -> None:
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        cuts = attacked_proxy.cuts("resets")
        attacker.flood(batches(MADE[name]))
        if attacker.resets:
            # It was let do it again and again, until the budget for resets was spent.
            assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]
            assert attacked_proxy.cuts("resets") > cuts
        else:
            assert len(attacker.goaways) == 1, attacker.goaways


def test_priority_on_itself_harms_no_call(attacked_proxy: Scene) -> None:
    """Priorities of RFC 7540 are obsolete (RFC 9113, section 5.3.2): the frame is ignored, or ends its connection."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        attacker.send(frames.headers(1, REQUEST) + frames.priority(1, 1))
        attacker.send(frames.data(1, frames.message(b"x"), frames.END_STREAM))
        assert attacker.wait_for(1) or attacker.goaways == [frames.PROTOCOL_ERROR]


def test_calls_of_a_cut_client_are_cancelled_at_once(attacked_proxy: Scene) -> None:
    with attacked_proxy.attacked(cut_as="flood"), Attacker(attacked_proxy.address) as attacker:
        attacker.send(b"".join(map(opened, range(1, 201, 2))))
        attacker.flood(iter([frames.ping() * 3000]))
        attacked_proxy.wait_for_calls_in_flight()


def test_reset_of_one_in_three_calls_is_no_offence(attacked_proxy: Scene) -> None:
    """A client that cancels 30 calls a second for a while keeps its connection."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as client:
        streams = count(1, 2)
        for _ in range(30):
            for _ in range(2):
                client.send(frames.call(next(streams)))
            cancelled = next(streams)
            client.send(opened(cancelled))
            client.read_for(0.033)
            client.send(frames.reset(cancelled))
        client.read_until(lambda: len(client.ended) == 60)
        assert not client.cut
        assert len(client.ended) == 60
