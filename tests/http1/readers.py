"""Independent readers of the bytes that a proxy forwarded: our strict one, h11, and llhttp (httptools).

Each turns the bytes of one connection into a `Reading`. What they have in common is only RFC 9112.
"""

from collections.abc import Callable, Mapping

import h11
import httptools

from tests.http1 import strict
from tests.http1.strict import Reading, Request, origin_form

_MAX_HEAD_BYTES = 2**20


def read_with_h11(data: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
    connection.receive_data(data)
    requests: list[Request] = []
    try:
        while True:
            request = _h11_request(connection)
            if request is None:
                break
            requests.append(request)
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            if request.method == b"CONNECT":
                break
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        return Reading(tuple(requests), refused=f"h11: {error}")
    rest = connection.trailing_data[0]
    tunnel = bool(requests) and requests[-1].method == b"CONNECT"
    follows = rest and connection.our_state is h11.MUST_CLOSE
    return Reading(tuple(requests), rest, "h11: bytes after the last request" if follows else "", tunnel)


def _h11_request(connection: h11.Connection) -> Request | None:
    """The next request with all of its body; None when more bytes are needed."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            host = dict(head.headers).get(b"host", b"")
            return Request(head.method, origin_form(head.target), host, bytes(body))
        else:
            return None


class _Llhttp:
    """Callbacks of httptools; `requests` has what was whole."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.parser = httptools.HttpRequestParser(self)
        self._target = bytearray()
        self._body = bytearray()
        self._host = b""

    def on_message_begin(self) -> None:
        self._target, self._body, self._host = bytearray(), bytearray(), b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self._host = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        target = origin_form(bytes(self._target))
        self.requests.append(Request(self.parser.get_method(), target, self._host, bytes(self._body)))


def read_with_httptools(data: bytes) -> Reading:
    reader = _Llhttp()
    try:
        reader.parser.feed_data(data)
    except httptools.HttpParserUpgrade as upgrade:
        rest = data[upgrade.args[0] :]
        if reader.requests[-1].method == b"CONNECT":
            return Reading(tuple(reader.requests), rest, tunnel=True)
        # It stops at every request that asks for an upgrade. A server that declines reads on, and so do we.
        after = read_with_httptools(rest)
        return Reading((*reader.requests, *after.requests), after.rest, after.refused, after.tunnel)
    except httptools.HttpParserError as error:
        return Reading(tuple(reader.requests), refused=f"httptools: {error}")
    return Reading(tuple(reader.requests))


READERS: Mapping[str, Callable[[bytes], Reading]] = {
    "strict": strict.read,
    "h11": read_with_h11,
    "httptools": read_with_httptools,
}
