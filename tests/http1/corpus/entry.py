"""What a corpus entry is, and the words in which entries are written.

An entry is what one client sends on one connection: one or several HTTP/1 requests, right or wrong, down to the byte.
It says what a proxy has to do with it (`Verdict`), never how any particular proxy reads it.
"""

from dataclasses import dataclass
from enum import Enum

CRLF = b"\r\n"
HOST = b"Host: mesh.test"
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: mesh.test\r\n\r\n"
FOLLOWING = b"GET /following HTTP/1.1\r\nHost: mesh.test\r\n\r\n"
WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
LAST_CHUNK = b"0\r\n\r\n"


class Verdict(Enum):
    ANSWERED = "forwarded and answered"
    REFUSED = "refused"
    EITHER = "forwarded so that everyone reads the same, or refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """`requests`: how many are answered with 200 (before a refusal, if it is one); None: as many as the proxy reads.

    `in_body`: what is wrong is found only after the head may have been forwarded; the request is then broken off.
    `unfinished`: the last request is cut short, so waiting for the rest is right as well.
    `not_heard`: independent readers that refuse or misread this although it is valid, and so cannot bear witness.
    """

    name: str
    sent: bytes
    verdict: Verdict
    requests: int | None
    in_body: bool = False
    unfinished: bool = False
    not_heard: tuple[str, ...] = ()

    @property
    def must_refuse(self) -> bool:
        return self.verdict is Verdict.REFUSED


def answered(name: str, sent: bytes, requests: int = 1, not_heard: tuple[str, ...] = ()) -> Entry:
    """A control: valid, so it is forwarded as it is and answered."""
    return Entry(name, sent, Verdict.ANSWERED, requests, not_heard=not_heard)


def refused(name: str, sent: bytes, after: int = 0, in_body: bool = False) -> Entry:
    """Refused, after so many good requests on the same connection."""
    return Entry(name, sent, Verdict.REFUSED, after, in_body)


def either(
    name: str,
    sent: bytes,
    requests: int | None = None,
    in_body: bool = False,
    unfinished: bool = False,
    not_heard: tuple[str, ...] = (),
) -> Entry:
    """Accepting it is a matter of taste, as long as what is forwarded leaves no doubt."""
    return Entry(name, sent, Verdict.EITHER, requests, in_body, unfinished, not_heard)


def head(*lines: bytes) -> bytes:
    """A request line and fields, ended by CRLF each, and the empty line."""
    return CRLF.join(lines) + 2 * CRLF


def get(*fields: bytes, target: bytes = b"/") -> bytes:
    return head(b"GET " + target + b" HTTP/1.1", HOST, *fields)


def post(*fields: bytes, target: bytes = b"/") -> bytes:
    return head(b"POST " + target + b" HTTP/1.1", HOST, *fields)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x" % len(data) + extension + CRLF + data + CRLF
