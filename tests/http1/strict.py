"""Reads HTTP/1 requests by the letter of RFC 9112: the recorder delimits with it, and it is one of the readers.

Nothing is forgiven: lines end with CRLF, one content-length of digits, `chunked` alone and only in HTTP/1.1, no
folding, no blanks that the grammar does not have. A pure function of bytes; knows neither sockets nor proxies.
"""

import re
from dataclasses import dataclass, field

_TOKEN = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
_VISIBLE = rb"[\x21-\x7e\x80-\xff]"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(_TOKEN + rb" (" + _VISIBLE + rb"+) HTTP/1\.([01])")
_FIELD = re.compile(_TOKEN + rb":[ \t]*((?:" + _VISIBLE + rb"(?:" + _TEXT + _VISIBLE + rb")?)?)[ \t]*")
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_AUTHORITY_FORM = re.compile(rb"[^/?#@]+:[0-9]+")
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://[^/?#@]+((?:[/?][^#]*)?)")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_PATH_FORM = re.compile(rb"/[^#]*|\*")


class MalformedError(Exception):
    """The bytes are not what RFC 9112 says a request is."""


class _IncompleteError(Exception):
    """More bytes are needed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What must be the same for every reader. `target` without scheme and authority, whatever form it came in."""

    method: bytes
    target: bytes
    host: bytes
    body: bytes
    last: bool = field(default=False, compare=False)  # nothing may follow it on its connection

    def __str__(self) -> str:
        body = self.body if len(self.body) < 100 else b"%d bytes" % len(self.body)
        return f"{self.method.decode('latin-1')} {self.target[:80]!r} host {self.host!r} body {body!r}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The requests in some bytes; `rest` is what follows them; `refused` says why reading stopped, if it had to."""

    requests: tuple[Request, ...] = ()
    rest: bytes = b""
    refused: str = ""
    tunnel: bool = False  # the last request was CONNECT: `rest` is not HTTP any more


def origin_form(target: bytes) -> bytes:
    """The path and query of a target in absolute form; other targets as they are."""
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        return target
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


def read(data: bytes) -> Reading:
    """Every request that is whole, up to the first that is not."""
    requests: list[Request] = []
    start = 0
    while start < len(data):
        rest = data[start:]
        if requests and requests[-1].method == b"CONNECT":
            return Reading(tuple(requests), rest, tunnel=True)
        if requests and requests[-1].last:
            return Reading(tuple(requests), rest, "bytes after the last request")
        try:
            request, length = _request(rest)
        except MalformedError as error:
            return Reading(tuple(requests), rest, str(error))
        except _IncompleteError:
            return Reading(tuple(requests), rest)
        requests.append(request)
        start += length
    return Reading(tuple(requests), tunnel=bool(requests) and requests[-1].method == b"CONNECT")


def _request(data: bytes) -> tuple[Request, int]:
    """The first request, and how many bytes it is."""
    lines, at = _lines(data, 0)
    method, target, version = _request_line(lines[0])
    fields = [_field(line) for line in lines[1:]]
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == b"1"):
        raise MalformedError(f"{len(hosts)} Host fields")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise MalformedError(f"Host {hosts[0][:60]!r}")
    options = {
        option.strip(b" \t").lower() for name, value in fields if name == b"connection" for option in value.split(b",")
    }
    last = b"close" in options or (version == b"0" and b"keep-alive" not in options)
    body, at = (b"", at) if method == b"CONNECT" else _body(data, at, fields, version)
    return Request(method, origin_form(target), hosts[0] if hosts else b"", body, last), at


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MalformedError(f"request line {line[:60]!r}")
    method, target, version = match.groups()
    forms = (_AUTHORITY_FORM,) if method == b"CONNECT" else (_PATH_FORM, _ABSOLUTE_FORM)
    if not any(form.fullmatch(target) for form in forms) or (target == b"*" and method != b"OPTIONS"):
        raise MalformedError(f"target {target[:60]!r}")
    return method, target, version


def _lines(data: bytes, start: int) -> tuple[list[bytes], int]:
    """The lines up to the empty one, and where that ends."""
    lines = []
    while True:
        end = data.find(b"\r\n", start)
        line = data[start:] if end < 0 else data[start:end]
        stray = line.strip(b"\r") if end < 0 and line.endswith(b"\r") else line
        if any(forbidden in stray for forbidden in (b"\r", b"\n", b"\0")):
            raise MalformedError(f"control character in {line[:60]!r}")
        if end < 0:
            raise _IncompleteError
        start = end + 2
        if line:
            lines.append(line)
        elif lines:
            return lines, start
        else:
            raise MalformedError("empty line")


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise MalformedError(f"field {line[:60]!r}")
    return match[1].lower(), match[2]


def _body(data: bytes, at: int, fields: list[tuple[bytes, bytes]], version: bytes) -> tuple[bytes, int]:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if codings:
        if lengths or codings != [b"chunked"] or version == b"0":
            raise MalformedError(
                f"transfer-encoding {codings} with content-length {lengths} in HTTP/1.{version.decode()}"
            )
        return _chunked(data, at)
    if not lengths:
        return b"", at
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise MalformedError(f"content-length {lengths}")
    end = at + int(lengths[0])
    if end > len(data):
        raise _IncompleteError
    return data[at:end], end


def _chunked(data: bytes, at: int) -> tuple[bytes, int]:
    body = bytearray()
    while True:
        line, at = _line(data, at)
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise MalformedError(f"chunk size {line[:60]!r}")
        end = at + int(match[1], 16)
        if end == at:
            return bytes(body), _trailers(data, at)
        if data[end : end + 2] != b"\r\n":
            if len(data) >= end + 2 or data[end : end + 1] not in (b"", b"\r"):
                raise MalformedError("chunk data not followed by CRLF")
            raise _IncompleteError
        body += data[at:end]
        at = end + 2


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    if b"\n" in data[at : end if end >= 0 else len(data)]:
        raise MalformedError("line feed alone")
    if end < 0:
        raise _IncompleteError
    return data[at:end], end + 2


def _trailers(data: bytes, at: int) -> int:
    while True:
        line, at = _line(data, at)
        if not line:
            return at
        _field(line)
