"""Clients that do not speak HTTP/2 as they should: they lose their connection, or the one stream, and nobody else does.

A broken connection ends with GOAWAY and the error code RFC 9113 names (sections 4 to 7).
"""

import pytest

from tests.attack import frames
from tests.attack.peer import Attacker
from tests.attack.scene import Scene

OPENED = frames.headers(1, frames.request(frames.CHAT))

BAD_PREFACES = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: attack.example\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "zeros": bytes(4096),
    "almost": frames.PREFACE[:-1] + b"!" + frames.settings(),
    "no settings": frames.PREFACE + frames.ping(),
    "settings ack first": frames.PREFACE + frames.settings_ack(),
    "goaway first": frames.PREFACE + frames.goaway(0),
}


@pytest.mark.parametrize("name", BAD_PREFACES)
def test_bad_preface(attacked_proxy: Scene, name: str) -> None:
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address, BAD_PREFACES[name]) as attacker:
        attacker.wait_until_cut()
        assert not attacker.resets


# Each after the preface and one open stream: (bytes, the codes that may answer them).
FAULTS = {
    "oversized data": (frames.data(1, bytes(16_385)), {frames.FRAME_SIZE_ERROR}),
    "oversized headers": (frames.headers(3, bytes(16_385)), {frames.FRAME_SIZE_ERROR}),
    "oversized unknown frame": (frames.frame(0xBB, bytes(16_385)), {frames.FRAME_SIZE_ERROR}),
    "frame of 16 MiB announced": (frames.frame(frames.DATA, b"", 0, 1, 2**24 - 1), {frames.FRAME_SIZE_ERROR}),
    "ping of 7 bytes": (frames.frame(frames.PING, bytes(7)), {frames.FRAME_SIZE_ERROR}),
    "ping on a stream": (frames.frame(frames.PING, bytes(8), 0, 1), {frames.PROTOCOL_ERROR}),
    "settings of 5 bytes": (frames.frame(frames.SETTINGS, bytes(5)), {frames.FRAME_SIZE_ERROR}),
    "settings ack with payload": (frames.frame(frames.SETTINGS, bytes(6), frames.ACK), {frames.FRAME_SIZE_ERROR}),
    "settings on a stream": (frames.frame(frames.SETTINGS, b"", 0, 1), {frames.PROTOCOL_ERROR}),
    "window over 2^31-1": (
        frames.settings((frames.INITIAL_WINDOW_SIZE, 2**31)),
        {frames.FLOW_CONTROL_ERROR},
    ),
    "frame size too small": (frames.settings((frames.MAX_FRAME_SIZE, 16_383)), {frames.PROTOCOL_ERROR}),
    "frame size too large": (frames.settings((frames.MAX_FRAME_SIZE, 2**24)), {frames.PROTOCOL_ERROR}),
    "push neither on nor off": (frames.settings((frames.ENABLE_PUSH, 2)), {frames.PROTOCOL_ERROR}),
    "1,000 settings in a frame": (
        frames.settings(*[(frames.INITIAL_WINDOW_SIZE, n) for n in range(1000)]),
        {frames.ENHANCE_YOUR_CALM},
    ),
    "connection window overflows": (frames.window_update(0, 2**31 - 1), {frames.FLOW_CONTROL_ERROR}),
    "connection window by 0": (frames.window_update(0, 0), {frames.PROTOCOL_ERROR}),
    "data on stream 0": (frames.data(0, b"x"), {frames.PROTOCOL_ERROR}),
    "data on an idle stream": (frames.data(7, b"x"), {frames.PROTOCOL_ERROR}),
    "reset of an idle stream": (frames.reset(7), {frames.PROTOCOL_ERROR}),
    "headers on an even stream": (frames.headers(2, frames.request()), {frames.PROTOCOL_ERROR}),
    "push promise": (
        frames.frame(frames.PUSH_PROMISE, b"\0\0\0\2" + frames.request(), frames.END_HEADERS, 1),
        {frames.PROTOCOL_ERROR},
    ),
    "continuation of nothing": (frames.frame(frames.CONTINUATION, b"", 4, 1), {frames.PROTOCOL_ERROR}),
    "ping amid a header block": (
        frames.headers(3, frames.request(), flags=0) + frames.ping(),
        {frames.PROTOCOL_ERROR},
    ),
    "padding longer than the frame": (frames.data(1, b"\xff1234", frames.PADDED), {frames.PROTOCOL_ERROR}),
    "header block that cannot be decoded": (frames.headers(3, b"\xff\xff\xff\xff\xff\xff"), {frames.COMPRESSION_ERROR}),
    "header table larger than allowed": (frames.headers(3, b"\x3f\xff\xff\xff\x07"), {frames.COMPRESSION_ERROR}),
    "index of no entry": (frames.headers(3, b"\xfe"), {frames.COMPRESSION_ERROR}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_a_connection(attacked_proxy: Scene, name: str) -> None:
    fault, codes = FAULTS[name]
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        attacker.send(OPENED)
        attacker.send(fault)
        attacker.wait_until_cut()
        assert len(attacker.goaways) == 1 and set(attacker.goaways) <= codes, attacker.goaways
        attacked_proxy.wait_for_calls_in_flight()


def test_settings_that_overflow_the_window_of_an_open_stream(attacked_proxy: Scene) -> None:
    """A fault of the connection in RFC 9113, section 6.9.2; libnghttp2 resets the streams it happens to."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        attacker.send(OPENED + frames.window_update(1, 2**31 - 1 - 65_535))
        attacker.send(frames.settings((frames.INITIAL_WINDOW_SIZE, 2**31 - 1)))
        attacker.read_until(lambda: attacker.goaways or attacker.resets)
        assert [*attacker.goaways, *attacker.resets] == [frames.FLOW_CONTROL_ERROR]
        attacked_proxy.wait_for_calls_in_flight()


def test_more_data_than_the_window(attacked_proxy: Scene) -> None:
    """To a method that reads nothing: 64 KiB are taken, what is over ends the stream or the connection."""
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address) as attacker:
        attacker.send(frames.headers(1, frames.request(frames.CHAT, ("sleep-s", "30"))))
        for _ in range(200):
            attacker.send(frames.data(1, bytes(16_384)))
            if attacker.resets or attacker.cut:
                break
        attacker.read_until(lambda: attacker.goaways or attacker.resets)
        assert frames.FLOW_CONTROL_ERROR in {*attacker.goaways, *attacker.resets}


# Odd values that are legal (RFC 9113, section 6.5.2): the client is served.
ODD_SETTINGS = {
    "table of 4 GiB": (frames.HEADER_TABLE_SIZE, 2**32 - 1),
    "no table": (frames.HEADER_TABLE_SIZE, 0),
    "no pushed streams": (frames.MAX_CONCURRENT_STREAMS, 0),
    "largest frames": (frames.MAX_FRAME_SIZE, 2**24 - 1),
    "largest window": (frames.INITIAL_WINDOW_SIZE, 2**31 - 1),
    "endless headers": (frames.MAX_HEADER_LIST_SIZE, 2**32 - 1),
    "unknown setting": (0xFFFF, 2**32 - 1),
}


@pytest.mark.parametrize("name", ODD_SETTINGS)
def test_odd_settings_are_served(attacked_proxy: Scene, name: str) -> None:
    preface = frames.client_preface(ODD_SETTINGS[name])
    with attacked_proxy.attacked(), Attacker(attacked_proxy.address, preface) as client:
        client.send(frames.call(1))
        assert client.wait_for(1)
        assert not client.cut and not client.resets and not client.goaways
