"""Calls at a fixed rate, and how each of them ended: h2load does not read `grpc-status`, this client does.

    python -m benchmarks.caller PORT CALLS_PER_S SECONDS

A call is good when one whole message came back and then `grpc-status: 0`. Prints "calling" when it begins, and in the
end one line per call: when it was sent (on the clock of `time.monotonic`), how long it took, how it ended. A connection
that the proxy ends is not replaced: its calls have failed, and the others take the next ones. `Caller` runs it.
"""

import asyncio
import signal
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvloop
from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from benchmarks.process import LOAD_CORE, Child

CONNECTIONS = 8
MESSAGE = struct.pack("!BI", 0, 32) + bytes(32)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
WINDOW_BYTES = 2**31 - 1
"""Never used up by a run's answers, so no credit is ever given back."""
TICK_S = 0.001
LAST_ANSWERS_S, LAST_TICK_S = 5.0, 0.05
GOOD = "grpc 0"
BEGUN = "calling\n"
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """`sent_s` on the clock of `time.monotonic`. `outcome` is GOOD, or says what went wrong."""

    sent_s: float
    took_s: float
    outcome: str

    @property
    def failed(self) -> bool:
        return self.outcome != GOOD


class Caller:
    """The client as a child process."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No call is sent inside; those that became due are sent afterwards."""
        self._child.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._child.signal(signal.SIGCONT)

    def calls(self, timeout_s: float) -> list[Call]:
        """Waits for its end: every call, in the order of their ends."""
        if self._child.wait(timeout_s) != 0:
            raise RuntimeError(f"the caller failed: {self._child.said()}")
        _, _, text = self._child.log.read_text().partition(BEGUN)
        lines = (line.split("\t") for line in text.splitlines())
        return [Call(float(sent), float(took), outcome) for sent, took, outcome in lines]


@contextmanager
def calling(port: int, directory: Path, calls_per_s: int, seconds: float) -> Iterator[Caller]:
    """A caller that has begun."""
    argv = [sys.executable, "-m", "benchmarks.caller", str(port), str(calls_per_s), str(seconds)]
    with Child(argv, core=LOAD_CORE, log=directory / "calls") as child:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not child.log.read_text().endswith(BEGUN):
            if not child.running() or time.monotonic() > deadline_s:
                raise RuntimeError(f"the caller did not start: {child.said()}")
            time.sleep(0.01)
        yield Caller(child)


# ---- the program ----


@dataclass(slots=True)
class Open:
    """A call without its end yet."""

    sent_s: float
    http_status: str = ""
    body_bytes: int = 0


class Connection(asyncio.Protocol):
    """One connection (RFC 9113). Ended calls are added to `ended`."""

    def __init__(self, authority: str, ended: list[Call]) -> None:
        self._ended = ended
        self._decoder = Decoder()
        fields = (":method", "POST"), (":scheme", "http"), (":path", "/bench.Bench/Call"), (":authority", authority)
        # A first block refers to nothing before it, so it may be sent again and again.
        self._request = Encoder().encode([*fields, ("content-type", "application/grpc"), ("te", "trailers")])
        self._received = bytearray()
        self._next_stream = 1
        self.open: dict[int, Open] = {}
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
        credit = WindowUpdateFrame(0, window_increment=WINDOW_BYTES - 65_535)
        self._transport.write(PREFACE + settings.serialize() + credit.serialize())
        self.usable = True

    def connection_lost(self, _error: Exception | None) -> None:
        self.usable = False
        for stream in list(self.open):
            self._end(stream, "connection lost")

    def call(self) -> None:
        headers = HeadersFrame(self._next_stream, self._request, flags=["END_HEADERS"])
        body = DataFrame(self._next_stream, MESSAGE, flags=["END_STREAM"])
        self.open[self._next_stream] = Open(time.monotonic())
        self._next_stream += 2
        self._transport.write(headers.serialize() + body.serialize())

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= FRAME_HEADER_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(self._received[:FRAME_HEADER_BYTES]))
            end = FRAME_HEADER_BYTES + length
            if len(self._received) < end:
                return
            frame.parse_body(memoryview(self._received[FRAME_HEADER_BYTES:end]))
            del self._received[:end]
            self._take(frame)

    def abandon(self) -> None:
        """Ends what is still open."""
        for stream in list(self.open):
            self._end(stream, "not answered")
        self._transport.close()

    def _take(self, frame: Frame) -> None:
        match frame:
            case HeadersFrame():
                self._take_headers(frame)
            case DataFrame():
                if call := self.open.get(frame.stream_id):
                    call.body_bytes += len(frame.data)
                if "END_STREAM" in frame.flags:
                    self._end(frame.stream_id, "no grpc-status")
            case RstStreamFrame():
                self._end(frame.stream_id, f"reset {frame.error_code}")
            case GoAwayFrame():
                self.usable = False
            case SettingsFrame() if "ACK" not in frame.flags:
                self._transport.write(SettingsFrame(0, flags=["ACK"]).serialize())
            case PingFrame() if "ACK" not in frame.flags:
                self._transport.write(PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())

    def _take_headers(self, frame: HeadersFrame) -> None:
        if "END_HEADERS" not in frame.flags:
            raise ValueError("a header block in several frames: no peer needs that here")
        fields = {str(name): str(value) for name, value in self._decoder.decode(frame.data)}
        call = self.open.get(frame.stream_id)
        if call is not None:
            call.http_status = fields.get(":status", call.http_status)
        if "END_STREAM" in frame.flags:
            self._end(frame.stream_id, f"grpc {fields.get('grpc-status', 'without status')}")

    def _end(self, stream: int, outcome: str) -> None:
        """Does nothing for a call that has ended: a reset may follow its answer."""
        call = self.open.pop(stream, None)
        if call is None:
            return
        if call.http_status not in {"", "200"}:
            outcome = f"http {call.http_status}"
        elif outcome == GOOD and call.body_bytes != len(MESSAGE):
            outcome = f"{call.body_bytes} bytes"
        self._ended.append(Call(call.sent_s, time.monotonic() - call.sent_s, outcome))


async def run(port: int, calls_per_s: int, seconds: float) -> list[Call]:
    """Calls at that rate for that time, then waits for the last answers."""
    loop = asyncio.get_running_loop()
    ended: list[Call] = []
    connect = partial(loop.create_connection, partial(Connection, f"127.0.0.1:{port}", ended), "127.0.0.1", port)
    connections = [(await connect())[1] for _ in range(CONNECTIONS)]
    print(BEGUN, end="", flush=True)
    started_s = time.monotonic()
    sent, total = 0, round(calls_per_s * seconds)
    while sent < total:
        due = min(total, int((time.monotonic() - started_s) * calls_per_s))
        for number in range(sent, due):
            usable = [connection for connection in connections if connection.usable]
            if usable:
                usable[number % len(usable)].call()
            else:
                ended.append(Call(time.monotonic(), 0.0, "no connection"))
        sent = due
        await asyncio.sleep(TICK_S)
    for _ in range(round(LAST_ANSWERS_S / LAST_TICK_S)):
        if any(connection.open for connection in connections):
            await asyncio.sleep(LAST_TICK_S)
    for connection in connections:
        connection.abandon()
    return ended


def main(port: str, calls_per_s: str, seconds: str) -> None:
    for call in uvloop.run(run(int(port), int(calls_per_s), float(seconds))):
        print(f"{call.sent_s:.6f}\t{call.took_s:.6f}\t{call.outcome}")


if __name__ == "__main__":
    main(*sys.argv[1:])
