"""Clients that are slow on purpose: with what they send (they are cut), or with what they read (they cost a window)."""

import time
from contextlib import ExitStack

import pytest

from tests.attack import frames
from tests.attack.peer import Attacker
from tests.attack.scene import HEADER_TIMEOUT_S, Scene
from tests.support.memory import SANITIZER_BYTES, descriptors
from tests.support.waiting import wait_until

DUE_S = HEADER_TIMEOUT_S + 2  # well after what is slow must be cut

# What a slow client has sent when it falls silent.
UNFINISHED = {
    "nothing": b"",
    "half a preface": frames.PREFACE[:12],
    "a preface without settings": frames.PREFACE,
    "half a frame header": frames.client_preface() + frames.ping()[:5],
    "half a ping": frames.client_preface() + frames.ping()[:12],
    "half a header block": frames.client_preface() + frames.headers(1, frames.request())[:-5],
    "a header block without its end": frames.client_preface() + frames.headers(1, frames.request(), flags=0),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_silence_in_the_middle(attacked_proxy: Scene, name: str) -> None:
    with attacked_proxy.attacked(cut_as="slow"), Attacker(attacked_proxy.address, UNFINISHED[name]) as attacker:
        attacker.wait_until_cut()


@pytest.mark.parametrize("sent", [frames.client_preface(), frames.client_preface() + frames.call(1)])
def test_one_byte_at_a_time(attacked_proxy: Scene, sent: bytes) -> None:
    """Slowloris: something always arrives, but never the whole."""
    with attacked_proxy.attacked(cut_as="slow"), Attacker(attacked_proxy.address, b"") as attacker:
        # Two headers' time for all of it: too slow by half, whatever this machine is busy with.
        pause_s = 2 * DUE_S / len(sent)
        for byte in sent:
            attacker.send(bytes([byte]))
            attacker.read_for(pause_s)
            if attacker.cut:
                break
        assert attacker.cut


def test_slow_continuations(attacked_proxy: Scene) -> None:
    """A header block that goes on, a whole frame now and then."""
    with attacked_proxy.attacked(cut_as="slow"), Attacker(attacked_proxy.address) as attacker:
        attacker.send(frames.headers(1, frames.request(), flags=0))
        for _ in range(7):
            attacker.send(frames.frame(frames.CONTINUATION, frames.block([("x-more", "y")]), 0, 1))
            attacker.read_for(DUE_S / 7)
        attacker.wait_until_cut()


def test_flood_of_half_open_connections(attacked_proxy: Scene) -> None:
    before = descriptors(attacked_proxy.proxy.pid)
    with attacked_proxy.attacked(cut_as="slow"), ExitStack() as stack:
        attackers = [
            stack.enter_context(Attacker(attacked_proxy.address, frames.PREFACE[: n % len(frames.PREFACE)]))
            for n in range(200)
        ]
        for attacker in attackers:
            attacker.wait_until_cut()
    wait_until(lambda: descriptors(attacked_proxy.proxy.pid) <= before, "descriptors back", interval_s=0.05)


def test_a_quiet_connection_is_not_slow(attacked_proxy: Scene) -> None:
    """After its preface a client may say nothing for as long as it likes, also within a call's body."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as client:
        client.send(frames.headers(1, frames.request()) + frames.data(1, frames.message(b"half")[:7]))
        client.read_for(DUE_S)
        client.send(frames.data(1, frames.message(b"half")[7:], frames.END_STREAM))
        assert client.wait_for(1)
        assert not client.cut


def expand(stream: int, count: int, size_bytes: int) -> bytes:
    return frames.call(stream, frames.EXPAND, f"{count} {size_bytes}".encode())


@pytest.mark.parametrize("window", ["closed", "open"])
def test_slow_reader(attacked_proxy: Scene, window: str) -> None:
    """100 responses of 10 MB that it does not take: with no window, or with windows but without reading its socket.

    While it lasts, they cost at most a window each; afterwards nothing.
    """
    size = 0 if window == "closed" else 2**31 - 1
    preface = frames.client_preface((frames.INITIAL_WINDOW_SIZE, size))
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address, preface) as attacker:
        before_bytes = attacked_proxy.rss_bytes()
        if size:
            attacker.send(frames.window_update(0, 2**31 - 1 - 65_535), read=False)
        for stream in range(1, 201, 2):
            attacker.send(expand(stream, 100, 100_000), read=False)
        attacked_proxy.neighbour.wait_for_answers(100)
        time.sleep(0.5)
        assert attacked_proxy.rss_bytes() - before_bytes < 100 * 65_536 + 10 * 2**20 + SANITIZER_BYTES
    attacked_proxy.wait_for_calls_in_flight()


def test_window_that_opens_byte_by_byte(attacked_proxy: Scene) -> None:
    """It makes the proxy send a large response in frames of one byte, for as long as its budget lasts."""
    preface = frames.client_preface((frames.INITIAL_WINDOW_SIZE, 0))
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address, preface) as attacker:
        attacker.send(expand(1, 10, 100_000))
        for _ in range(1000):
            attacker.send(frames.window_update(1, 1))
        attacker.read_for(0.2)
        assert not attacker.resets
