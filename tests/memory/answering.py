"""A server process that answers gRPC calls fast, once their request has ended: the endpoint of the memory tests.

    python -m tests.memory.answering 127.0.0.1:50051

Written over raw frames with fixed header blocks, and without looking at a request's: a codec would make the tests wait
for the server. A request that never ends is never answered, so its caller has something to abort. `AnsweringServer`
runs it.
"""

import asyncio
import sys

from tests.attack import frames
from tests.attack.frames import END_HEADERS, END_STREAM
from tests.attack.peer import FrameReader
from tests.support.ports import free_address, split_address
from tests.support.process import Process

WINDOW_BYTES = 2**31 - 1
ANSWER_HEADERS = frames.block([(":status", "200"), ("content-type", "application/grpc")])
ANSWER_TRAILERS = frames.block([("grpc-status", "0")])
ANSWER_BODY = frames.message(b"x")


class AnsweringServer(Process):
    """The server as a child process; `address` is where it listens."""

    def __init__(self) -> None:
        self.address = free_address()
        super().__init__((sys.executable, "-m", "tests.memory.answering", self.address), "the answering server")
        self.wait_for_port(self.address)


def answer(stream: int) -> bytes:
    return (
        frames.headers(stream, ANSWER_HEADERS)
        + frames.data(stream, ANSWER_BODY)
        + frames.headers(stream, ANSWER_TRAILERS, END_HEADERS | END_STREAM)
    )


class Session(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._reader = FrameReader()
        self._preface_left = len(frames.PREFACE)
        settings = frames.settings((frames.INITIAL_WINDOW_SIZE, WINDOW_BYTES), (frames.MAX_CONCURRENT_STREAMS, 10_000))
        transport.write(settings + frames.window_update(0, WINDOW_BYTES - 65_535))

    def data_received(self, data: bytes) -> None:
        skipped = min(self._preface_left, len(data))
        self._preface_left -= skipped
        answers = bytearray()
        credit_bytes = 0
        for kind, flags, stream, payload in self._reader.feed(data[skipped:]):
            credit_bytes += len(payload) * (kind == frames.DATA)
            if kind == frames.SETTINGS and not flags & frames.ACK:
                answers += frames.settings_ack()
            elif kind == frames.PING and not flags & frames.ACK:
                answers += frames.ping(payload, frames.ACK)
            if kind in (frames.HEADERS, frames.DATA) and flags & END_STREAM:
                answers += answer(stream)
        if credit_bytes:
            answers += frames.window_update(0, credit_bytes)
        self._transport.write(bytes(answers))


async def serve(address: str) -> None:
    host, port = split_address(address)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Session, host, port)
    stopping = asyncio.Event()
    loop.add_signal_handler(15, stopping.set)
    await stopping.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
