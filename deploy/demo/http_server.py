"""HTTP/1.1 for the web front: requests without a body, connections that are kept alive.

Only as much of RFC 9112 as a browser, the bot and a probe need: no request bodies, no chunks, no
pipelining in parallel. What is more than that is answered 4xx and closed. Knows nothing of the pages.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

log = logging.getLogger("http")

_HEAD_LIMIT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request; of a repeated query parameter, the last one counts."""

    method: str
    path: str
    query: dict[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"

    @classmethod
    def of_json(cls, value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
        """Return `value` as JSON."""
        return cls(json.dumps(value).encode(), status, "application/json")


class HttpServer:
    """Accepts connections and answers each request with what `respond` returns."""

    def __init__(self, respond: Callable[[Request], Awaitable[Response]]) -> None:
        self._respond = respond
        self._stopping = False
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._idle: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the address cannot be bound."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_HEAD_LIMIT_BYTES)

    async def stop(self, grace_s: float) -> None:
        """Take no more requests; those being answered have `grace_s` seconds to finish."""
        self._stopping = True
        self._server.close()
        for writer in self._idle:
            writer.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_s)
        for writer in self._connections.values():
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while not self._stopping and await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            self._idle.discard(writer)
            del self._connections[task]
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection can take another."""
        self._idle.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            await _send(writer, _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), keep=False)
            return False
        self._idle.discard(writer)
        request, keep = _parse(head)
        if request is None:
            await _send(writer, _refusal(HTTPStatus.BAD_REQUEST), keep=False)
            return False
        try:
            response = await self._respond(request)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)
        keep = keep and not self._stopping
        await _send(writer, response, keep=keep)
        return keep


def _parse(head: bytes) -> tuple[Request | None, bool]:
    """Return the request, None when it is not one this server takes; and whether to keep the connection."""
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    words = line.split(" ")
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or has_body:
        return None, False
    try:
        target = urlsplit(words[1])
    except ValueError:
        return None, False
    keep = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(words[0], target.path, dict(parse_qsl(target.query))), keep


def _refusal(status: HTTPStatus) -> Response:
    return Response(f"{status.phrase}\n".encode(), status)


async def _send(writer: asyncio.StreamWriter, response: Response, *, keep: bool) -> None:
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"content-type: {response.content_type}\r\n"
        f"content-length: {len(response.body)}\r\n"
        f"connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + response.body)
    await writer.drain()
