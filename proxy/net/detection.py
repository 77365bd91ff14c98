"""Which protocol a connection speaks, told from its first bytes.

Owns two pure functions over the bytes read so far: `detect`, and `server_name` for a TLS ClientHello. Knows no socket
and no time: how long to wait for more, and which ports are opaque, is its caller's. It only chooses who parses next,
and is generous where that one is strict: what looks like a request and is none gets its 400 from the HTTP/1 codec.

A decision depends on a prefix alone: once made, more bytes do not change it, and it is the same whether they
come at once or one at a time. Sources: RFC 9113 section 3.4 (preface), RFC 9112 sections 2.2 and 3 (request line),
RFC 8446 sections 4.1.2 and 5.1 (ClientHello and its records), RFC 6066 section 3 (server name).
"""

from __future__ import annotations

import enum
import re
from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


class Kind(enum.StrEnum):
    """What is spoken; TLS and TCP both mean bytes to be passed on as they are."""

    HTTP2 = "http2"
    HTTP1 = "http1"
    TLS = "tls"
    TCP = "tcp"


PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

LONG_LINE_BYTES: Final = 8 * 1024  # from here on, what began like a request is taken for one
MOST_LINE_BYTES: Final = 64 * 1024  # and here every line is judged by its method alone

# Of TLS; the names are those of RFC 8446.
MOST_HELLO_BYTES: Final = 16 * 1024
MOST_HELLO_RECORDS: Final = 16  # so that a hello in crumbs costs no more to read again and again than a whole one
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_MOST_RECORD_BYTES: Final = 1 << 14
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0

_VERSIONS: Final = (b" HTTP/1.1", b" HTTP/1.0")
_METHODS: Final = rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) "

_EMPTY_LINES: Final = re.compile(rb"(?:\r\n){0,2}").match
# A token (RFC 9110, section 5.6.2), then, after a blank, anything but control characters.
_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: [^\x00-\x1f\x7f]*)?").match
_METHOD: Final = re.compile(_METHODS).match
_METHOD_AND_TARGET: Final = re.compile(_METHODS + rb"(?:/|http)").match


def detect(data: Buffer) -> Kind | None:
    """The protocol of a connection whose first bytes are `data`; None if it takes more of them to tell."""
    head = bytes(data[: len(PREFACE)])
    if PREFACE.startswith(head):
        return Kind.HTTP2 if len(head) == len(PREFACE) else None
    if head[0] == _HANDSHAKE:
        return _detect_tls(head)
    return _detect_request(data)


def _detect_request(data: Buffer) -> Kind | None:
    empty_lines = _EMPTY_LINES(data)
    start = empty_lines.end() if empty_lines else 0
    line_bytes = len(data) - start
    if line_bytes == 0 or (start < 4 and line_bytes == 1 and data[start] == ord("\r")):
        return None  # nothing but empty lines so far
    kind = _judge_line(data, start, LONG_LINE_BYTES)
    if kind is None and line_bytes > LONG_LINE_BYTES:
        if _METHOD_AND_TARGET(data, start):
            return Kind.HTTP1
        kind = _judge_line(data, start, MOST_LINE_BYTES)
        if kind is None and line_bytes > MOST_LINE_BYTES:
            return Kind.HTTP1 if _METHOD(data, start) else Kind.TCP
    return kind


def _detect_tls(head: bytes) -> Kind | None:
    """TLS if `head` is a record of version 3.0 to 3.4 (SSL 3.0 to what 1.3 may be written as) with a ClientHello."""
    fits = (
        (head[1:2] or b"\x03") == b"\x03"
        and (head[2:3] or b"\x00") <= b"\x04"
        and (len(head) < 5 or 0 < int.from_bytes(head[3:5], "big") <= _MOST_RECORD_BYTES)
        and (len(head) < 6 or head[5] == _CLIENT_HELLO)
    )
    if not fits:
        return Kind.TCP
    return Kind.TLS if len(head) >= 6 else None


def _judge_line(data: Buffer, start: int, most_bytes: int) -> Kind | None:
    """Whether the line at `start` is a request's, seeing no more than `most_bytes` of it; None: it still can be."""
    stop = min(len(data), start + most_bytes)
    line = _LINE(data, start, stop)
    if line is None:
        return Kind.TCP
    end = line.end()
    if end == stop:
        return None
    # What ended it is a control character, or a character that no token has, or the token is too long.
    if not line[0].endswith(_VERSIONS):
        return Kind.TCP
    line_end = bytes(data[end : end + 2])
    if line_end == b"\r":
        return None
    # A bare LF is not ours to refuse.
    return Kind.HTTP1 if line_end.startswith((b"\r\n", b"\n")) else Kind.TCP


# Letters, digits, hyphens, and the underscores that are in use; no trailing dot (RFC 6066), and no IPv4 address.
_LABEL: Final = rb"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_DNS_NAME: Final = re.compile(rb"(?=.{1,253}\Z)(?:%b\.)*(?![0-9]+\Z)%b" % (_LABEL, _LABEL)).fullmatch


class _MalformedError(Exception):
    """The bytes are not a ClientHello, or one that is too long."""


def server_name(data: Buffer) -> tuple[bool, str]:
    """The host name that a connection's first bytes, a TLS ClientHello, ask for: (complete, name).

    Not complete: more bytes may bring it. The name is a DNS name in lower case, "" if there is none, or if the hello
    is malformed, longer than 16 KiB, or in more than 16 records.
    """
    seen = bytes(data[:MOST_HELLO_BYTES])
    try:
        hello = _client_hello(seen)
        if hello is None:
            return len(seen) == MOST_HELLO_BYTES, ""
        names = _host_names(hello)
    except _MalformedError:
        return True, ""
    # Two names would leave open which one the server takes.
    name = names[0].lower() if len(names) == 1 else b""
    return True, name.decode() if _DNS_NAME(name) else ""


def _client_hello(seen: bytes) -> bytes | None:
    """The body of the ClientHello at the start of a stream of TLS records; None if its end has not been seen."""
    message = bytearray()
    at = 0
    for _ in range(MOST_HELLO_RECORDS):
        header = seen[at : at + 5]
        if not bytes((_HANDSHAKE, 3)).startswith(header[:2]):
            raise _MalformedError
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:], "big")
        if not 0 < length <= _MOST_RECORD_BYTES:
            raise _MalformedError
        at += 5
        message += seen[at : at + length]
        at += length
        if message and message[0] != _CLIENT_HELLO:
            raise _MalformedError
        if len(message) >= 4:
            end = 4 + int.from_bytes(message[1:4], "big")
            if end > MOST_HELLO_BYTES:
                raise _MalformedError
            if len(message) >= end:
                return bytes(message[4:end])
        if at > len(seen):
            return None
    raise _MalformedError


def _host_names(hello: bytes) -> list[bytes]:
    """The host names of all server_name extensions in a ClientHello."""
    fields = _Fields(hello)
    fields.take(2 + 32)  # legacy_version, random
    fields.vector(1)  # legacy_session_id
    fields.vector(2)  # cipher_suites
    fields.vector(1)  # legacy_compression_methods
    if not fields.left:
        return []  # extensions came with TLS 1.2
    extensions = _Fields(fields.vector(2))
    if fields.left:
        raise _MalformedError
    names = []
    while extensions.left:
        extension, content = extensions.number(2), _Fields(extensions.vector(2))
        if extension != _SERVER_NAME:
            continue
        entries = _Fields(content.vector(2))
        if content.left:
            raise _MalformedError
        while entries.left:
            # Every type of name there will ever be begins with a length of two bytes.
            name_type, name = entries.number(1), entries.vector(2)
            if name_type == _HOST_NAME:
                names.append(name)
    return names


class _Fields:
    """Takes numbers and vectors (RFC 8446, section 3) out of bytes, in order; _MalformedError where these end early."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _MalformedError
        start = self._at
        self._at += count
        return self._data[start : self._at]

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "big")

    def vector(self, size_bytes: int) -> bytes:
        """A vector whose length is written in `size_bytes` before it."""
        return self.take(self.number(size_bytes))
