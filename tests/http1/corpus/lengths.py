"""content-length: repeated, signed, overflowing, not a number (RFC 9112, 6.3, items 4 and 5)."""

from tests.http1.corpus.entry import FOLLOWING, HOST, SMUGGLED, Entry, either, get, head, post, refused


def _length(value: bytes, body: bytes = b"hello") -> bytes:
    return post(b"Content-Length: " + value) + body


ENTRIES: tuple[Entry, ...] = (
    refused("cl-repeated-same", post(b"Content-Length: 5", b"Content-Length: 5") + b"hello"),
    refused("cl-repeated-different", post(b"Content-Length: 0", b"Content-Length: 43") + SMUGGLED),
    refused("cl-repeated-different-reversed", post(b"Content-Length: 43", b"Content-Length: 0") + SMUGGLED),
    refused("cl-repeated-far-apart", head(b"POST / HTTP/1.1", b"Content-Length: 5", HOST, b"content-length: 6")),
    refused("cl-list-same", _length(b"5, 5")),
    refused("cl-list-different", _length(b"5, 6")),
    refused("cl-list-with-empty-member", _length(b"5,")),
    refused("cl-plus", _length(b"+5")),
    refused("cl-minus", _length(b"-5")),
    refused("cl-minus-zero", _length(b"-0", b"")),
    refused("cl-hexadecimal", _length(b"0x5")),
    refused("cl-hexadecimal-digits", _length(b"5a")),
    refused("cl-fraction", _length(b"5.0")),
    refused("cl-exponent", _length(b"5e0")),
    refused("cl-underscore", _length(b"1_0", b"0123456789")),
    refused("cl-blank-within", _length(b"1 0", b"0123456789")),
    refused("cl-empty", _length(b"", b"")),
    refused("cl-word", _length(b"five")),
    refused("cl-quoted", _length(b'"5"')),
    refused("cl-vertical-tab", _length(b"\x0b5")),
    refused("cl-form-feed-after", _length(b"5\x0c")),
    refused("cl-nbsp", _length(b"\xa05")),
    refused("cl-digits-of-another-script", _length("٥".encode())),
    refused("cl-over-32-bits-and-negative", _length(b"-4294967291")),
    refused("cl-over-64-bits", _length(b"18446744073709551621")),
    refused("cl-over-signed-64-bits", _length(b"9223372036854775808")),
    refused("cl-endless", _length(b"9" * 400)),
    refused("cl-parameter", _length(b"5;q=1")),
    refused("cl-after-a-good-request", FOLLOWING + _length(b"+5"), after=1),
    # Zeros in front are digits, and valid; not everyone reads them as decimal.
    either("cl-leading-zeros", _length(b"0005") + FOLLOWING, requests=2),
    either("cl-octal-looking", _length(b"010", b"0123456789") + FOLLOWING, requests=2),
    either("cl-tabs-around", _length(b"\t5 \t"), requests=1, not_heard=("httptools", "nginx")),
    either("cl-underscored-name", post(b"Content_Length: 43") + SMUGGLED, requests=2),
    either("cl-shorter-than-the-body", post(b"Content-Length: 3") + b"hello\r\n\r\n"),
    either("cl-longer-than-the-body", _length(b"50"), in_body=True, unfinished=True),
    # Named by `connection`, the field that frames the message is not to disappear on the way.
    either("connection-names-content-length", post(b"Connection: Content-Length", b"Content-Length: 43") + SMUGGLED, 1),
    either("connection-names-host", get(b"Connection: Host"), requests=1),
)
