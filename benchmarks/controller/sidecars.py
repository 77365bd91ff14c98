"""Many sidecars in one process: a connection and a stream each, answering every response as the protocol has it.

They read no more of a response than the marks in it, so that many fit on one core. Standard output: "ready" when each
has its first answers; after each SIGUSR1, as JSON, for each change so far the milliseconds until each sidecar that
wants it had it.
"""

import argparse
import asyncio
import json
import re
import signal
import time
from collections import defaultdict

import grpc
import uvloop
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from injector.endpoints.messages import TYPE_URL
from injector.endpoints.server import METHOD, SERVICE

MARKS = re.compile(rb"at-([0-9]{16})").findall
NONCE = re.compile(rb"\n.([0-9]+)\"").match  # version_info comes first, and is the same number
START_TIMEOUT_S = 60.0


class Sidecar:
    """Wants `names`; `seen` is told of each change, with the milliseconds since."""

    def __init__(self, port: int, names: list[str], seen: dict[str, list[float]]) -> None:
        self._names = names
        self._seen = seen
        self._known: set[bytes] = set()
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}",
            options=(("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)),
        )
        self.ready = asyncio.Event()

    async def run(self) -> None:
        call = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")()
        await call.write(self._request(""))
        while (response := await call.read()) is not grpc.aio.EOF:
            self._note(response)
            number = NONCE(response)
            assert number is not None
            await call.write(self._request(number[1].decode()))
            self.ready.set()

    def _note(self, response: bytes) -> None:
        now_us = time.monotonic_ns() // 1000
        new = set(MARKS(response)) - self._known
        self._known |= new
        for mark in new if self.ready.is_set() else ():
            self._seen[mark.decode()].append((now_us - int(mark)) / 1000)

    def _request(self, nonce: str) -> bytes:
        request = DiscoveryRequest(
            version_info=nonce, resource_names=self._names, type_url=TYPE_URL, response_nonce=nonce
        )
        if not nonce:
            request.node.id = "pod.bench"
            request.node.metadata["namespace"] = "bench"
        return bytes(request.SerializeToString())


async def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("port", "sidecars", "names", "services"):
        options.add_argument(f"--{name}", type=int, required=True)
    given = options.parse_args()
    asked = asyncio.Semaphore(0)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, asked.release)
    seen: dict[str, list[float]] = defaultdict(list)
    running, sidecars = [], []
    for number in range(given.sidecars):
        wanted = {(number * given.names + index) % given.services for index in range(given.names)}
        sidecar = Sidecar(given.port, [f"s{each}:8080" for each in sorted(wanted)], seen)
        sidecars.append(sidecar)
        running.append(asyncio.create_task(sidecar.run()))
        if number % 20 == 19:
            async with asyncio.timeout(START_TIMEOUT_S):
                await sidecar.ready.wait()
    async with asyncio.timeout(START_TIMEOUT_S):
        await asyncio.gather(*(sidecar.ready.wait() for sidecar in sidecars))
    print("ready", flush=True)
    while True:
        await asked.acquire()
        for task in running:
            if task.done():
                task.result()
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
