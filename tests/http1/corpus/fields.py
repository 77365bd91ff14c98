"""Header fields: line ends, folding, control characters, names (RFC 9112, 2.2 and 5; RFC 9110, 5)."""

from tests.http1.corpus.entry import FOLLOWING, HOST, SMUGGLED, Entry, either, get, head, refused


def _raw(lines: bytes) -> bytes:
    """A request whose fields after Host are these bytes."""
    return b"GET / HTTP/1.1\r\nHost: mesh.test\r\n" + lines + b"\r\n"


ENTRIES: tuple[Entry, ...] = (
    refused("folded-blank", _raw(b"X: a\r\n b\r\n")),
    refused("folded-tab", _raw(b"X: a\r\n\tb\r\n")),
    refused("folded-empty-line", _raw(b"X: a\r\n \r\n")),
    refused("folded-host", b"GET / HTTP/1.1\r\nHost:\r\n mesh.test\r\n\r\n"),
    refused("folded-first-field", b"GET / HTTP/1.1\r\n X: a\r\nHost: mesh.test\r\n\r\n"),
    refused("folded-content-length", _raw(b"Content-Length:\r\n 43\r\n") + SMUGGLED),
    refused("folded-after-a-good-request", FOLLOWING + _raw(b"X: a\r\n b\r\n"), after=1),
    refused("bare-cr-in-value", _raw(b"X: a\rb\r\n")),
    refused("bare-cr-in-name", _raw(b"X\rY: a\r\n")),
    refused("bare-cr-at-line-end", _raw(b"X: a\r\r\n")),
    refused("bare-cr-as-line-end", _raw(b"X: a\rY: b\r\n")),
    refused("bare-cr-as-every-line-end", b"GET / HTTP/1.1\rHost: mesh.test\r\r\n\r\n"),
    refused("bare-cr-before-smuggled", _raw(b"X: a\r\rGET /smuggled HTTP/1.1\r\n")),
    refused("bare-cr-in-request-line", b"GET /\r HTTP/1.1\r\nHost: mesh.test\r\n\r\n"),
    refused("bare-cr-after-version", b"GET / HTTP/1.1\r\r\nHost: mesh.test\r\n\r\n"),
    refused("nul-in-value", _raw(b"X: a\x00b\r\n")),
    refused("nul-in-name", _raw(b"X\x00Y: a\r\n")),
    refused("nul-at-value-end", _raw(b"X: a\x00\r\n")),
    refused("nul-in-host", b"GET / HTTP/1.1\r\nHost: mesh\x00.test\r\n\r\n"),
    refused("nul-in-target", b"GET /a\x00b HTTP/1.1\r\nHost: mesh.test\r\n\r\n"),
    refused("nul-in-method", b"GE\x00T / HTTP/1.1\r\nHost: mesh.test\r\n\r\n"),
    refused("control-character-in-value", _raw(b"X: a\x01b\r\n")),
    refused("escape-in-value", _raw(b"X: \x1b[31m\r\n")),
    refused("delete-in-value", _raw(b"X: a\x7fb\r\n")),
    refused("vertical-tab-in-value", _raw(b"X: a\x0bb\r\n")),
    refused("form-feed-around-value", _raw(b"X: \x0cb\r\n")),
    refused("blank-before-colon", _raw(b"X : a\r\n")),
    refused("tab-before-colon", _raw(b"X\t: a\r\n")),
    refused("blank-before-colon-of-host", b"GET / HTTP/1.1\r\nHost : mesh.test\r\n\r\n"),
    refused("blank-before-colon-of-length", _raw(b"Content-Length : 43\r\n") + SMUGGLED),
    refused("blank-in-name", _raw(b"X Y: a\r\n")),
    refused("empty-name", _raw(b": a\r\n")),
    refused("line-without-colon", _raw(b"just words\r\n")),
    refused("line-of-one-word", _raw(b"word\r\n")),
    refused("eight-bit-name", _raw(b"X\xe9: a\r\n")),
    refused("separator-in-name", _raw(b"X(a): b\r\n")),
    refused("slash-in-name", _raw(b"X/a: b\r\n")),
    refused("at-sign-in-name", _raw(b"X@a: b\r\n")),
    refused("braces-in-name", _raw(b"{X}: b\r\n")),
    refused("quoted-name", _raw(b'"X": b\r\n')),
    refused("pseudo-header", _raw(b":path: /other\r\n")),
    # A line feed alone may be taken for a line's end (RFC 9112, 2.2), or refused.
    either("bare-lf-in-fields", _raw(b"X: a\nY: b\r\n")),
    either("bare-lf-everywhere", b"GET / HTTP/1.1\nHost: mesh.test\n\n"),
    either("bare-lf-after-request-line", b"GET / HTTP/1.1\nHost: mesh.test\r\n\r\n"),
    either("bare-lf-at-the-end", b"GET / HTTP/1.1\r\nHost: mesh.test\r\n\n"),
    either("bare-lf-twice-before-smuggled", _raw(b"X: a\n\nGET /smuggled HTTP/1.1\r\nHost: mesh.test\r\n")),
    either("bare-lf-before-length", _raw(b"X: a\nContent-Length: 43\r\n") + SMUGGLED),
    either("underscore-in-name", get(b"X_Y: a"), requests=1),
    either("te-field", get(b"Connection: TE", b"TE: gzip, trailers"), requests=1),
    either("connection-lists-itself", get(b"Connection: connection, close, x", b"X: 1"), requests=1),
    either("connection-malformed-list", get(b"Connection: ,,close,,"), requests=1),
    either("proxy-connection", get(b"Proxy-Connection: keep-alive") + FOLLOWING, requests=2),
    either("head-unfinished", b"GET / HTTP/1.1\r\nHost: mesh.te", unfinished=True),
    either("head-without-its-end", head(b"GET / HTTP/1.1", HOST)[:-2], unfinished=True),
)
