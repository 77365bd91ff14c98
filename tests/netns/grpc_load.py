"""A steady load of unary gRPC calls from a pod, on one grpcio channel, at a rate that does not wait for answers.

But no more than MOST_AT_ONCE are open: after a standstill of the machine, what was missed is left out.

    python -m tests.netns.grpc_load HOST:PORT CALLS_PER_S

Writes its state to stdout as JSON lines, four times a second and at its end: `started`, the calls so far; `answered`,
the good answers by server; `failed`, the first failures, each with status, details and the proxy's flag;
`slowest_s`, the longest that a call has taken. SIGTERM: waits for the calls that run, exit status 0.
"""

import asyncio
import json
import signal
import sys
from collections import Counter

import grpc
import grpc.aio

from tests.support.echo_server import SERVICE

TIMEOUT_S = 10
TICK_S = 0.01
TELL_EVERY_S = 0.25
MOST_FAILURES = 20
MOST_AT_ONCE = 200  # a hundred on one connection, and a hundred more that wait, is what a sidecar takes


class Load:
    """The channel's calls and what became of them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._unary = channel.unary_unary(f"/{SERVICE}/Unary")
        self._running: set[asyncio.Task[None]] = set()
        self._started = 0
        self._answered: Counter[str] = Counter()
        self._failed: list[list[str]] = []
        self._slowest_s = 0.0

    async def run(self, calls_per_s: float, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        begun_s = told_s = loop.time()
        due_before = 0
        while not stopping.is_set():
            await asyncio.sleep(TICK_S)
            due = int((loop.time() - begun_s) * calls_per_s)
            for _ in range(min(due - due_before, MOST_AT_ONCE - len(self._running))):
                self._started += 1
                task = loop.create_task(self._call(self._started))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            due_before = due
            if loop.time() - told_s >= TELL_EVERY_S:
                told_s = loop.time()
                self.tell()
        await asyncio.gather(*self._running)
        self.tell()

    async def _call(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        request = number.to_bytes(8)
        call = self._unary(request, timeout=TIMEOUT_S)
        status = await call.code()
        self._slowest_s = max(self._slowest_s, loop.time() - begun_s)
        trailing = dict(await call.trailing_metadata() or ())
        if status is grpc.StatusCode.OK and await call == request:
            self._answered[str(trailing["server"])] += 1
        elif len(self._failed) < MOST_FAILURES:
            flag = str(trailing.get("x-mesh-error", ""))
            self._failed.append([status.name, str(await call.details()), flag])

    def tell(self) -> None:
        state = {"started": self._started, "answered": self._answered, "failed": self._failed}
        print(json.dumps({**state, "slowest_s": self._slowest_s}), flush=True)


async def main(target: str, calls_per_s: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with grpc.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        await Load(channel).run(float(calls_per_s), stopping)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
