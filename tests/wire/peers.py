"""The far ends of the wire tests: scripted HTTP/2 clients and servers on `h2`, which shares no code with the proxy.

A Peer keeps what each stream received, in order, and every frame header it saw. GOAWAY is kept from h2, which would
refuse all frames after it. Flow-control credit is given back at once unless `auto_credit` is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.frame as frames

from tests.wire.messages import OK_HEADERS, OK_TRAILERS, Headers, request_headers

PREFACE_BYTES = 24


@dataclass(slots=True)
class Record:
    """What one stream received."""

    headers: Headers = field(default_factory=list)
    interim: list[Headers] = field(default_factory=list)
    data: bytes = b""
    trailers: Headers = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    order: list[str] = field(default_factory=list)  # "headers", "data", "trailers", "end", "reset" as they came
    uncredited: int = 0

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def get(self, name: str) -> str | None:
        """The first value of a header, or of a trailer."""
        for key, value in [*self.headers, *self.trailers]:
            if key == name.encode():
                return value.decode()
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame as it was on the wire."""

    kind: str
    stream: int
    flags: int
    length: int


class Peer:
    """One HTTP/2 endpoint, of either side."""

    def __init__(self, client_side: bool, settings: dict[int, int] | None = None) -> None:
        self.client_side = client_side
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=client_side,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.streams: dict[int, Record] = {}
        self.frames: list[Seen] = []
        self.goaways: list[tuple[int, int]] = []  # (last stream id, code)
        self.closed = False  # the proxy closed the connection
        self.leaving = False  # this side wants to close it
        self.auto_credit = True
        self.raw = bytearray()
        self.backlog: dict[int, tuple[bytes, Headers | None, bool]] = {}
        self._unparsed = bytearray()
        self._skip = 0 if client_side else PREFACE_BYTES
        if settings:
            self.h2.local_settings.update(settings)
            self.h2.local_settings.acknowledge()
            self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.initiate_connection()

    # ---- sending ----

    def send(self, stream: int, data: bytes = b"", trailers: Headers | None = None, end: bool = False) -> None:
        """Send body bytes, as far as flow control lets them go now and the rest later; then trailers or the end."""
        waiting, _, _ = self.backlog.pop(stream, (b"", None, False))
        self.backlog[stream] = (waiting + data, trailers, end or trailers is not None)
        self._push(stream)

    def _push(self, stream: int) -> None:
        data, trailers, end = self.backlog.pop(stream)
        try:
            while data:
                n = min(len(data), self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
                if n <= 0:
                    self.backlog[stream] = (data, trailers, end)
                    return
                last = n == len(data) and end and trailers is None
                self.h2.send_data(stream, data[:n], end_stream=last)
                data = data[n:]
                if last:
                    return
            if trailers is not None:
                self.h2.send_headers(stream, trailers, end_stream=True)
            elif end:
                self.h2.send_data(stream, b"", end_stream=True)
        except h2.exceptions.StreamClosedError:
            return

    def reset(self, stream: int, code: int = 8) -> None:
        self.backlog.pop(stream, None)
        self.h2.reset_stream(stream, code)

    def goaway(self, last_stream: int, code: int = 0, debug: bytes = b"") -> None:
        frame = frames.GoAwayFrame(0, last_stream_id=last_stream, error_code=code, additional_data=debug)
        self.send_frame(frame)

    def send_frame(self, frame: frames.Frame) -> None:
        """A frame h2 would not send, after all that it was told to."""
        self.raw += self.h2.data_to_send() + frame.serialize()

    def send_frame_bytes(self, data: bytes) -> None:
        """Bytes no codec would make."""
        self.raw += self.h2.data_to_send() + data

    def credit(self, stream: int) -> None:
        """Give back the credit of what this stream has received."""
        record = self.streams[stream]
        if record.uncredited:
            self.h2.acknowledge_received_data(record.uncredited, stream)
            record.uncredited = 0

    def close(self) -> None:
        self.leaving = True

    def take(self) -> bytes:
        data = bytes(self.raw) + self.h2.data_to_send()
        self.raw.clear()
        return data

    # ---- receiving ----

    def receive(self, data: bytes) -> None:
        for part in self._split(data):
            for event in self.h2.receive_data(part):
                self._event(event)

    def _split(self, data: bytes) -> Iterable[bytes]:
        """Whole frames; GOAWAY frames are kept here."""
        self._unparsed += data
        if self._skip:
            if len(self._unparsed) < self._skip:
                return
            yield bytes(self._unparsed[: self._skip])
            del self._unparsed[: self._skip]
            self._skip = 0
        while len(self._unparsed) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(self._unparsed[:9]))
            if len(self._unparsed) < 9 + length:
                return
            whole = bytes(self._unparsed[: 9 + length])
            del self._unparsed[: 9 + length]
            self.frames.append(Seen(type(frame).__name__, frame.stream_id, whole[4], length))
            if isinstance(frame, frames.GoAwayFrame):
                frame.parse_body(memoryview(whole[9:]))
                self.goaways.append((frame.last_stream_id, frame.error_code))
            else:
                yield whole

    def _record(self, stream: int | None) -> Record:
        assert stream is not None
        return self.streams.setdefault(stream, Record())

    def _event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                record = self._record(event.stream_id)
                record.headers = list(event.headers or [])
                record.order.append("headers")
            case h2.events.InformationalResponseReceived():
                self._record(event.stream_id).interim.append(list(event.headers or []))
            case h2.events.TrailersReceived():
                record = self._record(event.stream_id)
                record.trailers = list(event.headers or [])
                record.order.append("trailers")
            case h2.events.DataReceived():
                record = self._record(event.stream_id)
                record.data += event.data or b""
                record.uncredited += event.flow_controlled_length or 0
                record.order.append("data")
                if self.auto_credit:
                    self.credit(event.stream_id or 0)
            case h2.events.StreamEnded():
                record = self._record(event.stream_id)
                record.ended = True
                record.order.append("end")
                self.on_end(event.stream_id or 0)
            case h2.events.StreamReset():
                record = self._record(event.stream_id)
                if event.remote_reset:
                    record.reset = int(event.error_code or 0)
                    record.order.append("reset")
                self.backlog.pop(event.stream_id or 0, None)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for stream in list(self.backlog):
                    self._push(stream)

    def on_end(self, stream: int) -> None:
        """The peer's half of a stream is complete."""


class Client(Peer):
    """A scripted client; `call` starts a stream and returns its number."""

    def __init__(self, settings: dict[int, int] | None = None) -> None:
        super().__init__(True, settings)

    def call(
        self,
        headers: Headers | None = None,
        data: bytes = b"",
        *,
        end: bool = True,
        trailers: Headers | None = None,
    ) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.streams[stream] = Record()
        whole = end and not data and trailers is None
        self.h2.send_headers(stream, request_headers() if headers is None else headers, end_stream=whole)
        if not whole:
            self.send(stream, data, trailers, end)
        return stream

    def __getitem__(self, stream: int) -> Record:
        return self.streams[stream]


class Server(Peer):
    """A scripted server. `on_request`, when set, is called with (server, stream) once a request is complete."""

    def __init__(self, settings: dict[int, int] | None = None) -> None:
        super().__init__(False, settings)
        self.on_request: Callable[[Server, int], None] | None = None

    def on_end(self, stream: int) -> None:
        if self.on_request is not None:
            self.on_request(self, stream)

    @property
    def last(self) -> int:
        """The newest stream."""
        return max(self.streams)

    def respond(
        self,
        stream: int,
        data: bytes = b"",
        *,
        headers: Headers = OK_HEADERS,
        trailers: Headers | None = OK_TRAILERS,
    ) -> None:
        """A whole gRPC response."""
        self.h2.send_headers(stream, headers)
        self.send(stream, data, trailers, True)


def echo(server: Server, stream: int) -> None:
    """Answer a complete call with its own body and OK."""
    server.respond(stream, server.streams[stream].data)
