"""The headers and bodies that the wire tests send."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]


def request_headers(method: str = "test.Echo/Unary", *extra: tuple[bytes, bytes]) -> Headers:
    """A gRPC call's headers."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/" + method.encode()),
        (b":authority", b"echo.test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *extra,
    ]


HTTP_GET: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/page"),
    (b":authority", b"echo.test"),
]
OK_HEADERS: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
OK_TRAILERS: Headers = [(b"grpc-status", b"0")]


def message(payload: bytes) -> bytes:
    """One gRPC message: uncompressed flag, length, payload."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload
