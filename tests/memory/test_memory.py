"""After very many calls, good ones and aborted ones, the proxy is as it was: memory, descriptors, calls in flight.

MESHCTL_MEMORY_CALLS: how many good calls (100,000; a million for a thorough run); a tenth of that are aborted. h2load
makes the good ones where it is installed, a loop over raw frames elsewhere. A warm-up first fills what is
kept on purpose: caches, label sets, the allocator's arenas.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.attack import frames
from tests.attack.peer import Attacker
from tests.attack.scene import configuration
from tests.memory.answering import AnsweringServer
from tests.support.memory import SANITIZER_BYTES, descriptors, rss_bytes
from tests.support.process import ProxyProcess, start_proxy
from tests.support.waiting import wait_until

CALLS = int(os.environ.get("MESHCTL_MEMORY_CALLS", "100000"))
ABORTED_CALLS = CALLS // 10
GROWTH_BYTES = 2 * 2**20 + SANITIZER_BYTES  # 100,000 calls that leave 21 bytes each are found out
DESCRIPTORS_LEFT = 2  # upstream connections come and go
CONNECTIONS = 8
STREAMS = 50
SECONDS_PER_CALL = 1 / 500  # far slower than any machine; only ends what hangs
BATCH = 50

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + CALLS * SECONDS_PER_CALL * 2)]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[ProxyProcess]:
    with AnsweringServer() as server, start_proxy(configuration(server.address), tmp_path) as running:
        running.wait_until(lambda: running.metric("meshctl_endpoint_ready") == 1, "endpoint ready")
        yield running


def make_calls(proxy: ProxyProcess, calls: int) -> None:
    """Unary calls that succeed, over several connections."""
    address = proxy.listener("outbound")
    h2load = shutil.which("h2load")
    if h2load is None:
        _make_calls_without_h2load(address, calls)
        return
    grpc = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    load = (f"-n{calls}", f"-c{CONNECTIONS}", f"-m{STREAMS}", *grpc)
    result = subprocess.run(
        (h2load, *load, f"http://{address}{frames.UNARY}"),
        capture_output=True,
        text=True,
        timeout=60 + calls * SECONDS_PER_CALL,
        check=True,
    )
    assert f" {calls} succeeded, 0 failed, 0 errored" in result.stdout, result.stdout


def _make_calls_without_h2load(address: str, calls: int) -> None:
    with Attacker(address, frames.client_preface((frames.INITIAL_WINDOW_SIZE, 2**31 - 1))) as client:
        client.send(frames.window_update(0, 2**31 - 1 - 65_535))
        first = 1
        while first < 2 * calls:
            last = min(first + 2 * BATCH, 2 * calls + 1) - 2
            client.send(b"".join(frames.call(stream) for stream in range(first, last + 1, 2)))
            wait_until(lambda: client.wait_for(last, 0.1) or client.cut, "answers")  # noqa: B023
            assert not client.cut
            first = last + 2


def abort_calls(proxy: ProxyProcess, calls: int) -> None:
    """Calls left in every way: reset at once, reset after a while, and by closing the connection."""
    address = proxy.listener("outbound")
    request = frames.request(frames.CHAT)
    left = calls
    for number in count():
        with Attacker(address) as client:
            # Under the budget of 1,000 rapid resets a connection.
            for first in range(1, 1 + 2 * 10 * BATCH, 2 * BATCH):
                streams = range(first, first + 2 * BATCH, 2)
                body = frames.data(1, frames.message(b"begun")[:8])[9:]
                client.send(b"".join(frames.headers(s, request) + frames.data(s, body) for s in streams))
                if number % 3 != 2:
                    client.read_for(0.01 * (number % 3))
                    client.send(b"".join(map(frames.reset, streams)))
                left -= BATCH
            # Closed before it was read, what it has sent would be lost.
            client.send(frames.ping())
            client.read_until(lambda: client.frames[frames.PING])
            assert not client.cut
        if left <= 0:
            return


def settled(proxy: ProxyProcess) -> tuple[int, int]:
    """(RSS in bytes, open descriptors), with no call and no client left."""
    wait_until(lambda: proxy.metric("meshctl_calls_in_flight") == 0, "no calls in flight")
    wait_until(lambda: proxy.metric("meshctl_downstream_connections") == 0, "no client connected")
    time.sleep(0.3)
    return rss_bytes(proxy.pid), descriptors(proxy.pid)


def check(proxy: ProxyProcess, before: tuple[int, int]) -> None:
    rss, open_descriptors = settled(proxy)
    print(
        f"\nRSS {before[0] / 1e6:.2f} MB, {rss / 1e6:.2f} MB after; descriptors {before[1]}, {open_descriptors} after"
    )
    assert rss - before[0] <= GROWTH_BYTES, f"RSS grew by {rss - before[0]} bytes from {before[0]}"
    assert open_descriptors <= before[1] + DESCRIPTORS_LEFT
    assert proxy.metric("meshctl_faults_total") == 0


def test_good_calls(proxy: ProxyProcess) -> None:
    make_calls(proxy, CALLS // 5)
    before = settled(proxy)
    answered = proxy.metric("meshctl_response_total", classification="success")
    make_calls(proxy, CALLS)
    assert proxy.metric("meshctl_response_total", classification="success") - answered == CALLS
    check(proxy, before)


def test_aborted_calls(proxy: ProxyProcess) -> None:
    abort_calls(proxy, 3000)
    before = settled(proxy)
    cancelled = proxy.metric("meshctl_response_total", classification="cancelled")
    abort_calls(proxy, ABORTED_CALLS)
    check(proxy, before)
    assert proxy.metric("meshctl_response_total", classification="cancelled") - cancelled >= ABORTED_CALLS
