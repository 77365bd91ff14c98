"""After very many calls the data plane holds no object and no byte more than before: leaks too small for the RSS.

The data plane runs in this process, between peers in memory, so its objects and the C library's allocations can be
counted. How many calls: as in `test_memory`, where processes and sockets are real.
"""

import ctypes
import gc
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.attack import frames
from tests.attack.inmemory import Bench
from tests.memory.answering import answer
from tests.memory.test_memory import ABORTED_CALLS, CALLS, SECONDS_PER_CALL

BATCH = 50
CALLS_A_CONNECTION = 500  # under the budget of resets, too
PYTHON_BLOCKS = 100
C_BYTES = 128 * 1024  # the allocator's own caches; ten thousand calls that leave one block each are found out
CREDIT_BYTES = 1 << 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + CALLS * SECONDS_PER_CALL)]


class Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    ]


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds: objects of the data plane by type, blocks of Python's allocator, bytes from malloc.

    The last two are 0 where they cannot be had: blocks with PYTHONMALLOC=malloc, bytes with another C library.
    """

    objects: Counter[str]
    python_blocks: int
    c_bytes: int

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        kinds = map(type, gc.get_objects())
        objects = Counter(kind.__name__ for kind in kinds if str(kind.__module__).startswith("proxy.dataplane"))
        return cls(objects, sys.getallocatedblocks(), c_bytes())

    def assert_no_more_than(self, before: "Held") -> None:
        print(f"\nobjects {dict(before.objects)} before, {dict(self.objects)} after")
        print(f"blocks {before.python_blocks:,}, {self.python_blocks:,}; bytes {before.c_bytes:,}, {self.c_bytes:,}")
        assert self.objects == before.objects
        assert self.python_blocks - before.python_blocks <= PYTHON_BLOCKS
        assert self.c_bytes - before.c_bytes <= C_BYTES


def c_bytes() -> int:
    """Bytes taken from the C library's allocator and not given back."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    mallinfo.restype = Mallinfo
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


def good_calls(bench: Bench) -> None:
    """One client connection whose calls are all answered."""
    client = bench.client()
    client.deliver(frames.client_preface() + frames.window_update(0, CREDIT_BYTES))
    for first in range(1, 2 * CALLS_A_CONNECTION, 2 * BATCH):
        client.deliver(b"".join(map(frames.call, range(first, first + 2 * BATCH, 2))))
        server = bench.server()
        server.deliver(frames.window_update(0, BATCH * len(frames.message(b"x"))))
        server.deliver(b"".join(map(answer, bench.opened)))
        bench.opened.clear()
        client.transport.taken()
    client.lose()


def aborted_calls(bench: Bench) -> None:
    """One client connection whose calls are reset by the client, by the server, or die with a connection."""
    client = bench.client()
    client.deliver(frames.client_preface())
    request = frames.request(frames.CHAT)
    for first in range(1, 2 * CALLS_A_CONNECTION, 2 * BATCH):
        streams = range(first, first + 2 * BATCH, 2)
        client.deliver(b"".join(frames.headers(stream, request) + frames.data(stream, b"\0\0") for stream in streams))
        server = bench.server()
        server.deliver(frames.window_update(0, 2 * BATCH))
        if first % 300 < 100:
            client.deliver(b"".join(map(frames.reset, streams)))
        elif first % 300 < 200:
            server.deliver(b"".join(map(frames.reset, bench.opened)))
        elif first % 500 < 100:
            server.lose()
        bench.opened.clear()
        client.transport.taken()
        bench.clock.pass_time(0.5)
    client.lose()


@pytest.mark.parametrize(("connection", "calls"), [(good_calls, CALLS), (aborted_calls, ABORTED_CALLS)])
def test_nothing_is_left_of_calls(connection: Callable[[Bench], None], calls: int) -> None:
    bench = Bench(seed=1)

    def make(calls: int) -> None:
        for _ in range(-(-calls // CALLS_A_CONNECTION)):
            connection(bench)
        assert bench.plane.calls == 0
        assert bench.plane.downstream_connections == 0
        assert bench.plane.faults == 0

    make(calls // 5)
    before = Held.now()
    started = sum(stats.started for stats in bench.plane.call_stats())
    make(calls)
    assert sum(stats.started for stats in bench.plane.call_stats()) - started >= calls
    Held.now().assert_no_more_than(before)
