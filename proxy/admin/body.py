"""The body of an answer on its way to bytes: any iterable of text, in bounded pieces, compressed or not.

A small body is one piece and goes out with its length; a large one goes out as it is made, chunked (RFC
9112, section 7.1) for HTTP/1.1, up to the end of the connection for HTTP/1.0, and with gzip if the client
takes it. It never waits in memory as a whole. How pieces get to the client is not its concern.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.admin.http1 import Request

PIECE_CHARACTERS = 32 * 1024
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Body:
    """What the header says of the body, and its bytes. Each step of `pieces` is short; some are empty."""

    fields: tuple[tuple[str, str], ...]
    pieces: Iterator[bytes]


def encode(text: Iterable[str], request: Request | None) -> Body:
    """Makes the body that answers `request`; None for a request that could not be read.

    Raises what `text` raises while its first piece is made; what it raises later comes out of `pieces`.
    """
    pieces = _joined(text)
    first = next(pieces, "")
    if len(first) < PIECE_CHARACTERS:  # then it is the only one
        whole = _utf8(first)
        return Body((("Content-Length", str(len(whole))),), iter([whole]))
    fields = [("Vary", "Accept-Encoding")]
    encoded: Iterator[bytes] = map(_utf8, _with_first(first, pieces))
    if request is not None and request.accepts_gzip:
        fields.append(("Content-Encoding", "gzip"))
        encoded = _gzip(encoded)
    if request is None or not request.is_http_1_0:
        fields.append(("Transfer-Encoding", "chunked"))
        encoded = _chunked(encoded)
    return Body(tuple(fields), encoded)


def _joined(text: Iterable[str]) -> Iterator[str]:
    """Pieces of at least PIECE_CHARACTERS, but for the last; none if there is no text."""
    parts: list[str] = []
    characters = 0
    for part in text:
        parts.append(part)
        characters += len(part)
        if characters >= PIECE_CHARACTERS:
            yield "".join(parts)
            parts.clear()
            characters = 0
    if parts:
        yield "".join(parts)


def _with_first(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _utf8(text: str) -> bytes:
    # A peer's header may have put half a surrogate pair into a label; it must not spoil the whole answer.
    return text.encode("utf-8", "replace")


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    # Level 1: a scrape shrinks to a twentieth, for less time than it took to write.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        # An empty chunk would end the body; an empty piece is only a step.
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    yield LAST_CHUNK
