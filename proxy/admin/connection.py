"""One connection to the admin server: requests in, answers out, in order, until one side has had enough.

A body is any iterable of text. It is sent as it is made, a piece per turn of the event loop, so that calls move on
while a large answer is written; it never waits in memory as a whole. A small one goes out with its length, a large
one chunked (RFC 9112, section 7.1) and, if the client takes it, compressed. Every wait has a limit. What is
answered is not its concern: it calls `answer` with each request.
"""

import asyncio
import contextlib
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from proxy.admin.http1 import Request, RequestError, read_request, response_head

TEXT = "text/plain; charset=utf-8"
PIECE_CHARACTERS = 16 * 1024
DISCARD_BYTES = 256 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `after` runs once it has been sent."""

    status: HTTPStatus
    body: Iterable[str]
    content_type: str = TEXT
    fields: tuple[tuple[str, str], ...] = ()
    after: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a client may take: until its request begins, from there to its end, and to take an answer."""

    idle_s: float = 10.0
    request_s: float = 10.0
    response_s: float = 30.0


def error(status: HTTPStatus, reason: str, *fields: tuple[str, str]) -> Response:
    """An answer in one line of text."""
    return Response(status, [f"{reason}\n"], fields=fields)


class Connection:
    """Serves one accepted connection. `idle` is true while no request has begun and no answer is on its way."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Response],
        timeouts: Timeouts,
    ) -> None:
        self.idle = True
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._timeouts = timeouts

    async def serve(self) -> None:
        """Returns when the connection is closed, whoever closed it and why."""
        try:
            while await self._exchange():
                self.idle = True
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client has gone, or takes too long to take its answer
        finally:
            # Unlike close(), this does not wait for a client that has stopped reading.
            self._writer.transport.abort()

    async def refuse(self, response: Response) -> None:
        """Sends `response` without reading anything, and closes."""
        self.idle = False
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._timeouts.request_s):
                await self._send(None, response, keep_alive=False)
                await self._close()
        self._writer.transport.abort()

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            async with asyncio.timeout(self._timeouts.idle_s):
                first = await self._reader.read(1)
        except TimeoutError:
            first = b""
        if not first:
            await self._close()
            return False
        self.idle = False
        request, response = await self._read()
        keep_alive = request is not None and request.keep_alive
        async with asyncio.timeout(self._timeouts.response_s):
            await self._send(request, response, keep_alive)
        if response.after is not None:
            response.after()
        if not keep_alive:
            await self._close()
        return keep_alive

    async def _read(self, first: bytes) -> tuple[Request | None, Response]:
        try:
            async with asyncio.timeout(self._timeouts.request_s):
                request = await read_request(first, self._reader)
        except RequestError as refused:
            return None, error(refused.status, refused.reason)
        except asyncio.IncompleteReadError:
            return None, error(HTTPStatus.BAD_REQUEST, "incomplete request")
        except TimeoutError:
            return None, error(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")
        return request, self._answer(request)
