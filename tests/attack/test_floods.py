"""Clients that send many frames that carry nothing are cut with ENHANCE_YOUR_CALM (semantics: 9)."""

from collections.abc import Iterator
from itertools import count, repeat

import pytest

from tests.attack import frames
from tests.attack.peer import Attacker
from tests.attack.scene import Scene
from tests.support.memory import SANITIZER_BYTES

BATCH = 100  # frames in one send
BATCHES = 2000  # a flood that is let through this long is not noticed at all

# Each is one frame that may be repeated for ever on an open connection with stream 1 open.
FLOODS = {
    "ping": frames.ping(),
    "ping ack": frames.ping(flags=frames.ACK),
    "settings": frames.settings(),
    "settings with values": frames.settings((frames.INITIAL_WINDOW_SIZE, 65535), (frames.HEADER_TABLE_SIZE, 4096)),
    "empty data": frames.data(1),
    "data of nothing but padding": frames.data(1, b"\x00", frames.PADDED),
    "priority": frames.priority(1, 0),
    "priority of idle streams": frames.priority(99, 0),
    "window update of the connection": frames.window_update(0, 1),
    "window update of a stream": frames.window_update(1, 1),
    "unknown type": frames.frame(0xFA, b"?"),
    "empty unknown type on a stream": frames.frame(0x42, b"", 0xFF, 1),
}


def opened() -> bytes:
    """A call that goes on: its request has not ended."""
    return frames.headers(1, frames.request(frames.CHAT))


@pytest.mark.parametrize("name", FLOODS)
def test_flood(attacked_proxy: Scene, name: str) -> None:
    with attacked_proxy.attacked(cut_as="flood"), Attacker(attacked_proxy.address) as attacker:
        attacker.send(opened())
        attacker.flood(repeat(FLOODS[name] * BATCH, BATCHES))
        assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]


def test_flood_by_a_client_that_does_not_read(attacked_proxy: Scene) -> None:
    """Its answers pile up on our side: it is cut, though a GOAWAY may not reach it."""
    with attacked_proxy.attacked(cut_as="flood"), Attacker(attacked_proxy.address) as attacker:
        for batch in repeat(frames.ping() * BATCH, BATCHES):
            attacker.send(batch, read=False)
            if attacker.cut:
                break
        attacker.wait_until_cut()


def test_endless_continuation(attacked_proxy: Scene) -> None:
    """A header block that never ends, in small pieces (CVE-2024-24549 and its kin)."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        before = attacked_proxy.cuts()
        attacker.send(frames.headers(1, frames.request(), flags=0))
        piece = frames.frame(frames.CONTINUATION, frames.block([("x-more", "y" * 20)]), 0, 1)
        attacker.flood(repeat(piece * BATCH, BATCHES))
        assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]
        assert attacked_proxy.cuts() > before


def test_endless_empty_continuation(attacked_proxy: Scene) -> None:
    with attacked_proxy.attacked(cut_as="flood"), Attacker(attacked_proxy.address) as attacker:
        attacker.send(frames.headers(1, frames.request(), flags=0))
        attacker.flood(repeat(frames.frame(frames.CONTINUATION, b"", 0, 1) * BATCH, BATCHES))
        assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]


def test_header_bomb(attacked_proxy: Scene) -> None:
    """One large entry in the table, then references to it of one byte each: 16 KiB on the wire stand for 60 MiB."""
    with attacked_proxy.attacked(cut_as="header_bomb"), Attacker(attacked_proxy.address) as attacker:
        before_bytes = attacked_proxy.rss_bytes()
        value = b"b" * 4000
        # Literal with incremental indexing and a new name (RFC 7541, section 6.2.1); 4000 = 127 + 3873.
        entry = b"\x40\x06x-bomb\x7f" + bytes([3873 & 0x7F | 0x80, 3873 >> 7]) + value
        reference = b"\xbe"  # index 62, the newest entry of the dynamic table
        attacker.send(frames.headers(1, frames.request() + entry + reference * 12_000))
        attacker.wait_until_cut()
        assert attacker.goaways == [frames.ENHANCE_YOUR_CALM]
        assert attacked_proxy.rss_bytes() - before_bytes < 2**23 + SANITIZER_BYTES


def test_many_small_header_bombs(attacked_proxy: Scene) -> None:
    """Each stays under what is cut at once, and fails alone; all together must not cost memory that stays."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        value = b"b" * 4000
        entry = b"\x40\x06x-bomb\x7f" + bytes([3873 & 0x7F | 0x80, 3873 >> 7]) + value
        attacker.send(frames.headers(1, frames.request() + entry, frames.END_HEADERS | frames.END_STREAM))
        for stream in range(3, 1003, 2):
            attacker.send(frames.headers(stream, frames.request() + b"\xbe" * 60, 0x5))
        assert attacker.cut or attacker.wait_for(1001)


def streams_without_end() -> Iterator[bytes]:
    """HEADERS of ever new streams: over the limit each is refused."""
    request = frames.request(frames.CHAT)
    for first in count(1, 2 * BATCH):
        yield b"".join(frames.headers(stream, request) for stream in range(first, first + 2 * BATCH, 2))


def test_streams_over_the_limit_by_a_client_that_does_not_read(attacked_proxy: Scene) -> None:
    """It never acknowledges the limit and reads no refusal: the refusals must not pile up without end."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        before_bytes = attacked_proxy.rss_bytes()
        for _, batch in zip(range(1000), streams_without_end(), strict=False):
            if attacker.cut:
                break
            attacker.send(batch, read=False)
        assert attacked_proxy.rss_bytes() - before_bytes < 2 * 2**24 + SANITIZER_BYTES
