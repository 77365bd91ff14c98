"""HTTP/2 frames as bytes, legal or not, for peers that do what no library would let them (RFC 9113, sections 4 and 6).

Frames are made by hand, not by a codec, so that every field can be wrong. Header blocks use literals that are never
indexed, so that a block means the same wherever and however often it is sent. Knows nothing of sockets.
"""

import struct
from collections.abc import Iterable

from hpack import Encoder, NeverIndexedHeaderTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 0x5, 0x6, 0x7, 0x8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x9, 0xB

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 0x1, 0x2, 0x3, 0x4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 0x5, 0x6

UNARY = "/mesh.test.Echo/Unary"
EXPAND = "/mesh.test.Echo/Expand"
CHAT = "/mesh.test.Echo/Chat"


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0, length: int | None = None) -> bytes:
    """One frame; `length` is what its header claims when that is not the payload's length."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block (RFC 7541) that leaves no trace in the receiver's table. Order and case stay."""
    encoder = Encoder()
    return encoder.encode([NeverIndexedHeaderTuple(name, value) for name, value in fields], huffman=False)


def request(path: str = UNARY, *extra: tuple[str, str]) -> bytes:
    """The header block of a gRPC request; `extra` fields come last."""
    pseudo = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "attack.example"))
    return block((*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *extra))


def headers(stream: int, encoded: bytes, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, encoded, flags, stream)


def data(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return frame(DATA, payload, flags, stream)


def message(body: bytes) -> bytes:
    """A gRPC message: its five-byte prefix, then `body`."""
    return struct.pack(">BI", 0, len(body)) + body


def call(stream: int, path: str = UNARY, body: bytes = b"x") -> bytes:
    """A whole gRPC request with one message."""
    return headers(stream, request(path)) + data(stream, message(body), END_STREAM)


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, struct.pack(">I", code), 0, stream)


def settings(*entries: tuple[int, int]) -> bytes:
    return frame(SETTINGS, b"".join(struct.pack(">HI", name, value) for name, value in entries))


def settings_ack() -> bytes:
    return frame(SETTINGS, flags=ACK)


def ping(payload: bytes = bytes(8), flags: int = 0) -> bytes:
    return frame(PING, payload, flags)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, struct.pack(">I", increment), 0, stream)


def priority(stream: int, depends_on: int, weight: int = 15) -> bytes:
    return frame(PRIORITY, struct.pack(">IB", depends_on, weight), 0, stream)


def goaway(last_stream: int, code: int = NO_ERROR, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, struct.pack(">II", last_stream, code) + debug)


def client_preface(*entries: tuple[int, int]) -> bytes:
    """What a client says first."""
    return PREFACE + settings(*entries)
