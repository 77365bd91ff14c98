"""One connection to the admin server: requests in, answers out, in order, until one side has had enough.

A body is sent as it is made, a piece per turn of the event loop, so that calls move on while a large answer
is written. Every wait has a limit. What is answered is not its concern: it calls `answer` with each
request.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from proxy.admin.body import Body, encode
from proxy.admin.http1 import MAX_LINE_BYTES, Request, RequestError, read_request, response_head

TEXT = "text/plain; charset=utf-8"
LINGER_S = 1.0
LINGER_BYTES = 256 * 1024

log = logging.getLogger("meshctl")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `after` runs once it has been sent."""

    status: HTTPStatus
    text: Iterable[str]
    content_type: str = TEXT
    fields: tuple[tuple[str, str], ...] = ()
    after: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a client may take: until its request begins, from there to its end, and to take the answer."""

    idle_s: float = 10.0
    request_s: float = 10.0
    response_s: float = 30.0


def refusal(status: HTTPStatus, reason: str, *fields: tuple[str, str]) -> Response:
    """An answer that says no, in one line of text."""
    return Response(status, [f"{reason}\n"], fields=fields)


class Connection:
    """Serves one accepted connection.

    `idle` is true while nothing is lost if the connection is closed at once. Setting `is_last_exchange`
    ends it after the answer that is on its way.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Awaitable[Response]],
        timeouts: Timeouts,
    ) -> None:
        self.idle = True
        self.is_last_exchange = False
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._timeouts = timeouts
        # Nothing may wait in the transport, so drain() returns when the kernel has taken everything.
        writer.transport.set_write_buffer_limits(high=0)

    async def serve(self) -> None:
        """Returns when the connection is closed, whoever closed it and why."""
        with self._aborting():
            while await self._exchange():
                self.idle = True

    async def refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answers without having read anything, and closes."""
        with self._aborting():
            async with asyncio.timeout(self._timeouts.request_s):
                response = refusal(status, reason)
                await self._send(None, response, encode(response.text, None))
                await self._linger()

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError):
            pass  # the client has gone, or does not take its answer
        except Exception:
            log.exception("an answer of the admin server broke off")
        finally:
            # Unlike close(), this does not wait for a client that has stopped reading.
            self._writer.transport.abort()

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            async with asyncio.timeout(self._timeouts.idle_s):
                first = await self._reader.read(1)
        except TimeoutError:
            return False
        if not first:
            return False
        self.idle = False
        request, response, body = await self._read(first)
        async with asyncio.timeout(self._timeouts.response_s):
            await self._send(request, response, body)
        if response.after is not None:
            response.after()
        if self._is_last(request):
            await self._linger()
            return False
        return True

    def _is_last(self, request: Request | None) -> bool:
        return self.is_last_exchange or request is None or not request.keep_alive

    async def _read(self, first: bytes) -> tuple[Request | None, Response, Body]:
        """The request, None if it was not worth the name, and what to say to it."""
        try:
            async with asyncio.timeout(self._timeouts.request_s):
                request = await read_request(first, self._reader)
        except RequestError as error:
            refused = refusal(error.status, error.reason)
        except asyncio.IncompleteReadError:
            refused = refusal(HTTPStatus.BAD_REQUEST, "incomplete request")
        except TimeoutError:
            refused = refusal(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")
        else:
            return request, *(await self._reply(request))
        return None, refused, encode(refused.text, None)

    async def _reply(self, request: Request) -> tuple[Response, Body]:
        try:
            response = await self._answer(request)
            return response, encode(response.text, request)
        except Exception:
            log.exception("the admin server cannot answer %s %s", request.method, request.path)
            response = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "fault in the admin server")
            return response, encode(response.text, request)

    async def _send(self, request: Request | None, response: Response, body: Body) -> None:
        await self._write(self._head(request, response, body))
        if request is not None and request.method == "HEAD":
            return
        for piece in body.pieces:
            if piece:
                await self._write(piece)
            # drain() does not wait when the kernel has room; calls must have their turn all the same.
            await asyncio.sleep(0)

    def _head(self, request: Request | None, response: Response, body: Body) -> bytes:
        fields = [("Content-Type", response.content_type), ("Cache-Control", "no-store")]
        return response_head(
            response.status, [*fields, *response.fields, *body.fields], keep_alive=not self._is_last(request)
        )

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _linger(self) -> None:
        """Ends our side, then reads for a moment what still comes.

        Closing on unread bytes would reset the connection, and the reset could overtake the answer (RFC 9112,
        section 9.6).
        """
        self.idle = True
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                for _ in range(LINGER_BYTES // MAX_LINE_BYTES):
                    if not await self._reader.read(MAX_LINE_BYTES):
                        return
