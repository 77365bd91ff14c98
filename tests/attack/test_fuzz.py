"""Mutated frames from both sides: nothing crashes, nothing faults, every call ends.

Seeded, so that a failure can be had again. MESHCTL_FUZZ_FRAMES: how many mutated frames (20,000; a million for a
thorough run, for instance on an AddressSanitizer build). MESHCTL_FUZZ_SEED: another order of events.
"""

import os
import random
from collections.abc import Callable

import pytest

from tests.attack import frames
from tests.attack.frames import END_HEADERS, END_STREAM
from tests.attack.inmemory import Bench, Wire

MUTATED_FRAMES = int(os.environ.get("MESHCTL_FUZZ_FRAMES", "20000"))
SEED = int(os.environ.get("MESHCTL_FUZZ_SEED", "1"))
FRAMES_A_LIFE = 40  # a client's connection lasts so long, unless a mutation ends it sooner
WRONG_SHARES = (0.5, 0.2, 0.1)  # most mutations end the connection; with few of them calls get further
LIVES_A_BENCH = 500
SECONDS_PER_FRAME = 1 / 500  # far slower than any machine or sanitizer; only ends what hangs

LAST = END_HEADERS | END_STREAM
REQUEST = frames.request("/fuzz/Call", ("x-tracing-bin", "AAAA"), ("grpc-timeout", "5S"))
PLAIN_REQUEST = frames.block(
    [(":method", "PUT"), (":scheme", "http"), (":path", "/plain?x=1"), (":authority", "a"), ("content-length", "6")]
)
RESPONSE = frames.block([(":status", "200"), ("content-type", "application/grpc"), ("x-initial", "1")])
PLAIN_RESPONSE = frames.block([(":status", "200"), ("content-length", "6"), ("content-type", "text/plain")])
TRAILERS = frames.block([("grpc-status", "0"), ("grpc-message", "fine")])
MESSAGE = frames.message(b"x")  # six bytes, as the content-lengths above say

Make = Callable[[random.Random, int], bytes]

TAME: list[Make] = [
    *[lambda _, stream: frames.data(stream, MESSAGE)] * 2,
    lambda _, stream: frames.data(stream, MESSAGE, END_STREAM),
    lambda _, stream: frames.data(stream, b"", END_STREAM),
    lambda _, stream: frames.data(stream, b"\x03" + MESSAGE + bytes(3), frames.PADDED),
    lambda r, stream: frames.reset(stream, r.randrange(16)),
    lambda r, stream: frames.window_update(stream * r.randrange(2), r.randrange(1, 100_000)),
    lambda r, _: frames.ping(r.randbytes(8), r.randrange(2)),
    lambda r, _: frames.settings((frames.INITIAL_WINDOW_SIZE, r.choice([0, 5, 65_535, 2**20]))),
    lambda r, _: frames.settings(
        (frames.HEADER_TABLE_SIZE, r.choice([0, 100, 4096])), (frames.MAX_CONCURRENT_STREAMS, 9)
    ),
    lambda _, __: frames.settings_ack(),
    lambda r, stream: frames.priority(stream, r.randrange(2**31)),
    lambda r, stream: frames.frame(r.randrange(10, 256), r.randbytes(r.randrange(50)), r.randrange(256), stream),
]
ROUGH: list[Make] = [
    lambda r, stream: frames.data(stream, bytes(r.randrange(16_384))),
    lambda r, stream: frames.window_update(stream * r.randrange(2), r.randrange(2**31)),
    lambda r, _: frames.settings((r.randrange(1, 10), r.randrange(2**32)), (r.randrange(1, 7), r.randrange(2**15))),
    lambda r, stream: frames.goaway(r.choice([0, stream, 2**31 - 1]), r.randrange(16), r.randbytes(5)),
    lambda _, stream: frames.frame(frames.PUSH_PROMISE, b"\0\0\0\2" + REQUEST, END_HEADERS, stream),
    lambda r, stream: frames.headers(stream, r.randbytes(r.randrange(60)), LAST),
    lambda _, stream: frames.headers(stream, REQUEST),
    lambda _, stream: frames.headers(stream, RESPONSE + TRAILERS, LAST),
]
"""What is wrong as it is, or may end the connection: sent as seldom as mutated frames are."""
OPENING: list[Make] = [
    *[lambda _, stream: frames.headers(stream, REQUEST)] * 6,
    lambda _, stream: frames.headers(stream, PLAIN_REQUEST),
    lambda _, stream: frames.headers(stream, REQUEST, LAST),
    lambda _, stream: (
        frames.headers(stream, REQUEST[:20], 0) + frames.frame(frames.CONTINUATION, REQUEST[20:], END_HEADERS, stream)
    ),
]
CLIENT: list[Make] = [*TAME, lambda _, stream: frames.headers(stream, TRAILERS, LAST)]
SERVER: list[Make] = [
    *TAME,
    *[lambda _, stream: frames.headers(stream, RESPONSE)] * 5,
    *[lambda _, stream: frames.headers(stream, TRAILERS, LAST)] * 3,
    lambda _, stream: frames.headers(stream, PLAIN_RESPONSE),
    lambda _, stream: frames.headers(stream, frames.block([(":status", "103"), ("link", "x")])),
]


def mutated(r: random.Random, sent: bytes) -> bytes:
    """`sent` with one thing wrong."""
    changed = bytearray(sent)
    match r.randrange(8):
        case 0:
            changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
        case 1:
            changed[3] = r.randrange(12)
        case 2:
            changed[4] = r.randrange(256)
        case 3:
            changed[5:9] = r.choice([0, 1, 2, 3, 5, 2**31 - 1, 2**32 - 1]).to_bytes(4)
        case 4:
            changed[:3] = r.choice([0, 1, 4, 5, 8, 16_384, 16_385, 2**24 - 1]).to_bytes(3)
        case 5:
            kept = r.randrange(9, len(changed) + 1)
            changed = bytearray(frames.frame(sent[3], bytes(changed[9:kept]), sent[4], int.from_bytes(sent[5:9])))
        case 6:
            changed[9:] = r.randbytes(len(changed) - 9)
        case _:
            at = r.randrange(len(changed) + 1)
            changed[at:at] = r.randbytes(r.randrange(1, 20))
    return bytes(changed)


def deliver(r: random.Random, wire: Wire, sent: bytes) -> None:
    """Whole, or in two pieces."""
    at = r.randrange(len(sent) + 1) if r.random() < 0.3 else len(sent)
    wire.deliver(sent[:at])
    wire.deliver(sent[at:])


class ClientStreams:
    """Which stream the client's next frame is for: mostly one that is open, or a new one."""

    def __init__(self) -> None:
        self._last = -1
        self._open = False

    def next(self, r: random.Random) -> tuple[int, list[Make]]:
        """A stream and what may be sent on it."""
        if self._open and r.random() < 0.7:
            return self._last, CLIENT
        self._last += 2
        self._open = True
        return self._last, OPENING

    def sent(self, frame: bytes) -> None:
        ends = frame[3] in (frames.HEADERS, frames.DATA) and frame[4] & END_STREAM
        if ends or frame[3] == frames.RST_STREAM:
            self._open = False


def life(r: random.Random, bench: Bench) -> int:
    """One client connection and whatever its endpoint does meanwhile; returns the number of mutated frames."""
    client = bench.client()
    client.deliver(frames.client_preface())
    wrong_share = r.choice(WRONG_SHARES)
    mutations = 0
    streams = ClientStreams()
    for _ in range(FRAMES_A_LIFE):
        server = bench.server()
        if r.random() < 0.6:
            stream, makers = streams.next(r)
            wire = client
        else:
            wire, stream, makers = server, r.choice(bench.opened or [1]), SERVER
        if r.random() < wrong_share / 2:
            makers = ROUGH
        sent = r.choice(makers)(r, stream)
        if wire is client:
            streams.sent(sent)
        if r.random() < wrong_share:
            sent = mutated(r, sent)
            mutations += 1
        deliver(r, wire, sent)
        client.transport.taken()
        client.settle()
        bench.clock.pass_time(r.choice([0, 0, 0, 0.001, 0.05, 2]))
        client.settle()
        if not client.alive:
            return mutations
    client.lose()
    return mutations


@pytest.mark.timeout(60 + MUTATED_FRAMES * SECONDS_PER_FRAME)
def test_mutated_frames() -> None:
    r = random.Random(SEED)
    done = lives = 0
    statuses: set[str] = set()
    while done < MUTATED_FRAMES:
        bench = Bench(seed=SEED)
        for _ in range(LIVES_A_BENCH):
            done += life(r, bench)
            lives += 1
            assert bench.plane.faults == 0, f"life {lives}: {bench.plane.last_fault!r}"
            assert bench.plane.calls == 0, f"life {lives}: a call has not ended"
            assert bench.plane.downstream_connections == 0, f"life {lives}: a connection is left"
            if done >= MUTATED_FRAMES:
                break
        stats = bench.plane.call_stats()
        assert sum(each.in_flight for each in stats) == 0
        assert sum(each.started for each in stats) == sum(row[4] for each in stats for row in each.responses())
        statuses |= {row[0] for each in stats for row in each.responses()}
    print(f"\nseed {SEED}: {done:,} mutated frames in {lives:,} connections; calls ended as {sorted(statuses)}")
    # The frames must have got past the first line of defence, or nothing was tested.
    assert statuses >= {"success", "failure", "cancelled"}
