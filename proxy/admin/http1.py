"""HTTP/1.1 as the admin server speaks it: a strict, small reader of requests, and the head of a response.

Reads a request from a stream under fixed limits, or says with which status it must be refused (RFC 9112,
sections 2 to 7). Bodies of requests are read and dropped: nothing here takes one. What a path means, how
long a client may take, and how bodies of responses are sent is not its concern.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

MAX_LINE_BYTES = 8192
MAX_HEADER_FIELDS = 100
MAX_BODY_BYTES = 65536

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/([0-9])\.([0-9])")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_WEIGHT = re.compile(r"q=0(\.0*)?")


class RequestError(Exception):
    """A request that must be refused. The connection cannot be read any further."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """A request, its body already dropped. Names in `fields` are in lower case; `path` has no query."""

    method: str
    path: str
    fields: Mapping[str, str]
    is_http_1_0: bool

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be used again. For HTTP/1.0 it never is."""
        options = self.fields.get("connection", "").lower().split(",")
        return not self.is_http_1_0 and "close" not in map(str.strip, options)

    @property
    def accepts_gzip(self) -> bool:
        """RFC 9110, section 12.5.3."""
        for part in self.fields.get("accept-encoding", "").lower().split(","):
            coding, *parameters = map(str.strip, part.split(";"))
            if coding == "gzip":
                return not any(map(_NO_WEIGHT.fullmatch, parameters))
        return False


async def read_request(first: bytes, reader: asyncio.StreamReader) -> Request:
    """Reads one request whose first byte is `first`.

    `reader` must have been made with `limit=MAX_LINE_BYTES`. Raises RequestError, IncompleteReadError when
    the client stops in the middle, and what the transport raises.
    """
    line = await _read_line(reader, HTTPStatus.REQUEST_URI_TOO_LONG, first)
    if not line:  # one empty line before a request is forgiven (RFC 9112, section 2.2)
        line = await _read_line(reader, HTTPStatus.REQUEST_URI_TOO_LONG)
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RequestError(HTTPStatus.BAD_REQUEST, "malformed request line")
    method, target, major, minor = match.groups()
    if major != "1":
        raise RequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.0 and HTTP/1.1 only")
    fields = await _read_fields(reader)
    is_http_1_0 = minor == "0"
    if "host" not in fields and not is_http_1_0:
        raise RequestError(HTTPStatus.BAD_REQUEST, "no host")
    await _drop_body(fields, reader)
    return Request(method, _path(target), fields, is_http_1_0)


def response_head(status: HTTPStatus, fields: Iterable[tuple[str, str]], keep_alive: bool) -> bytes:
    """Status line and header fields, up to and with the empty line."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _read_line(reader: asyncio.StreamReader, too_long: HTTPStatus, first: bytes = b"") -> str:
    try:
        line = first + await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise RequestError(too_long, f"a line is longer than {MAX_LINE_BYTES} bytes") from None
    # A line feed alone ends no line here: what is tolerant in one place is smuggling in the next.
    if not line.endswith(b"\r\n"):
        raise RequestError(HTTPStatus.BAD_REQUEST, "a line does not end with CR LF")
    return line[:-2].decode("latin-1")


async def _read_fields(reader: asyncio.StreamReader) -> dict[str, str]:
    fields: dict[str, str] = {}
    for _ in range(MAX_HEADER_FIELDS + 1):
        line = await _read_line(reader, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not line:
            return fields
        name, colon, value = line.partition(":")
        if not colon or _FIELD_NAME.fullmatch(name) is None or _CONTROL.search(value):
            raise RequestError(HTTPStatus.BAD_REQUEST, "malformed header field")
        name, value = name.lower(), value.strip(" \t")
        if name not in fields:
            fields[name] = value
        elif name in ("host", "content-length"):
            raise RequestError(HTTPStatus.BAD_REQUEST, f"more than one {name}")
        else:
            fields[name] += f", {value}"
    raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEADER_FIELDS} header fields")


async def _drop_body(fields: Mapping[str, str], reader: asyncio.StreamReader) -> None:
    if "transfer-encoding" in fields:
        raise RequestError(HTTPStatus.LENGTH_REQUIRED, "a body needs a content-length")
    length = fields.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise RequestError(HTTPStatus.BAD_REQUEST, "malformed content-length")
    if len(length) > 10 or int(length) > MAX_BODY_BYTES:
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body over {MAX_BODY_BYTES} bytes")
    if int(length) and "expect" in fields:
        raise RequestError(HTTPStatus.EXPECTATION_FAILED, "send the body without waiting")
    await reader.readexactly(int(length))


def _path(target: str) -> str:
    # Absolute form must be understood (RFC 9112, section 3.2.2), whatever authority it names.
    if target.startswith("http://"):
        target = "/" + target.removeprefix("http://").partition("/")[2]
    elif not target.startswith("/"):
        raise RequestError(HTTPStatus.BAD_REQUEST, "malformed request target")
    return target.partition("?")[0]
