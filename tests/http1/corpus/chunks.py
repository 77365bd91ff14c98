"""Chunked bodies: sizes, extensions, line ends and trailers that are not what they should be (RFC 9112, 7.1).

The head of all of these is right, so a proxy that streams has forwarded it when it finds the fault: it then breaks the
request off, and the backend must never see the end of it.
"""

from tests.http1.corpus.entry import CHUNKED, FOLLOWING, LAST_CHUNK, SMUGGLED, Entry, either, post, refused


def _body(*parts: bytes) -> bytes:
    return post(CHUNKED) + b"".join(parts)


_WRONG_SIZES = (
    ("hexadecimal-prefix", b"0x5"),
    ("plus", b"+5"),
    ("minus", b"-5"),
    ("minus-zero", b"-0"),
    ("underscore", b"0_5"),
    ("not-a-digit", b"g"),
    ("empty", b""),
    ("extension-without-size", b";a=b"),
    ("blank-before", b" 5"),
    ("tab-before", b"\t5"),
    ("blank-within", b"0 5"),
    ("vertical-tab-after", b"5\x0b"),
    ("nul-after", b"5\x00"),
    ("quoted", b'"5"'),
    ("bare-cr-after", b"5\r"),
    ("over-64-bits", b"10000000000000005"),
    ("endless", b"f" * 400),
    ("eight-bit", b"\xb5"),
    ("word-after", b"5 foo"),
)

ENTRIES: tuple[Entry, ...] = (
    *(
        refused(f"chunk-size-{name}", _body(size, b"\r\nhello\r\n", LAST_CHUNK, SMUGGLED), in_body=True)
        for name, size in _WRONG_SIZES
    ),
    refused("chunk-size-wrong-later", _body(b"5\r\nhello\r\n0x1\r\n!\r\n", LAST_CHUNK), in_body=True),
    refused("chunk-longer-than-its-size", _body(b"3\r\nhello\r\n", LAST_CHUNK), in_body=True),
    refused("chunk-shorter-than-its-size", _body(b"7\r\nhello\r\n", LAST_CHUNK, FOLLOWING), in_body=True),
    refused("chunk-without-crlf-after-data", _body(b"5\r\nhello", LAST_CHUNK, SMUGGLED), in_body=True),
    refused("chunk-data-ended-by-cr", _body(b"5\r\nhello\r", LAST_CHUNK, SMUGGLED), in_body=True),
    refused("chunk-data-ended-by-two-others", _body(b"5\r\nhelloXX", LAST_CHUNK, SMUGGLED), in_body=True),
    refused("chunk-size-ended-by-cr", _body(b"5\rhello\r\n", LAST_CHUNK), in_body=True),
    refused("chunk-extension-bare-cr", _body(b"5;a=\rb\r\nhello\r\n", LAST_CHUNK), in_body=True),
    refused("chunk-extension-nul", _body(b"5;a=\x00\r\nhello\r\n", LAST_CHUNK), in_body=True),
    refused("last-chunk-with-sign", _body(b"5\r\nhello\r\n", b"+0\r\n\r\n", SMUGGLED), in_body=True),
    refused("trailer-folded", _body(b"0\r\nX: a\r\n b\r\n\r\n"), in_body=True),
    refused("trailer-blank-before-colon", _body(b"0\r\nX : a\r\n\r\n"), in_body=True),
    refused("trailer-without-colon", _body(b"0\r\nX\r\n\r\n"), in_body=True),
    refused("trailer-nul", _body(b"0\r\nX: a\x00b\r\n\r\n"), in_body=True),
    refused("trailer-bare-cr", _body(b"0\r\nX: a\rb\r\n\r\n"), in_body=True),
    either("chunk-size-bare-lf", _body(b"5\nhello\r\n", LAST_CHUNK, FOLLOWING), in_body=True),
    either("chunk-data-ended-by-lf", _body(b"5\r\nhello\n", LAST_CHUNK, FOLLOWING), in_body=True),
    either("chunk-extension-bare-lf", _body(b"5;a=b\nhello\r\n", LAST_CHUNK, SMUGGLED), in_body=True),
    either("chunk-extension-lf-within", _body(b"2;\nxx\r\nhi\r\n", LAST_CHUNK, SMUGGLED), in_body=True),
    either("chunk-last-bare-lf", _body(b"5\r\nhello\r\n0\n\n", FOLLOWING), in_body=True),
    either("chunk-blank-after-size", _body(b"5 \r\nhello\r\n", LAST_CHUNK, FOLLOWING), requests=2, in_body=True),
    either("chunk-tab-after-size", _body(b"5\t\r\nhello\r\n", LAST_CHUNK, FOLLOWING), requests=2, in_body=True),
    either("chunk-blank-before-extension", _body(b"5 ;a\r\nhello\r\n", LAST_CHUNK, FOLLOWING), 2, in_body=True),
    either("chunk-extension-empty", _body(b"5;\r\nhello\r\n", LAST_CHUNK, FOLLOWING), 2, in_body=True),
    either("chunk-extension-quoted-crlf", _body(b'5;a="\r\nhello\r\n', LAST_CHUNK, FOLLOWING), in_body=True),
    either("chunk-extension-quoted", _body(b'5;a="b c"\r\nhello\r\n', LAST_CHUNK, FOLLOWING), in_body=True),
    either("chunk-extension-long", _body(b"5;a=", b"e" * 70_000, b"\r\nhello\r\n", LAST_CHUNK), in_body=True),
    either("chunk-size-leading-zeros", _body(b"0005\r\nhello\r\n", LAST_CHUNK, FOLLOWING), 2, in_body=True),
    either("chunk-size-many-zeros", _body(b"0" * 100, b"5\r\nhello\r\n", LAST_CHUNK, FOLLOWING), 2, in_body=True),
    either("last-chunk-of-many-zeros", _body(b"5\r\nhello\r\n", b"0000\r\n\r\n", FOLLOWING), 2, in_body=True),
    either("chunk-size-wraps-32-bits", _body(b"ffffffff00000005\r\nhello\r\n", LAST_CHUNK), None, True, True),
    either("chunk-unfinished", _body(b"5\r\nhel"), in_body=True, unfinished=True),
    either("chunk-last-unfinished", _body(b"5\r\nhello\r\n0\r\n"), in_body=True, unfinished=True),
    either("trailer-content-length", _body(b"0\r\nContent-Length: 43\r\n\r\n", SMUGGLED), in_body=True),
    either("trailer-transfer-encoding", _body(b"0\r\nTransfer-Encoding: chunked\r\n\r\n", FOLLOWING), in_body=True),
    either("trailer-host", _body(b"0\r\nHost: other.test\r\n\r\n", FOLLOWING), in_body=True),
    either("trailer-bare-lf", _body(b"0\r\nX: a\nY: b\r\n\r\n", FOLLOWING), in_body=True),
    either("trailer-long", _body(b"0\r\nX: ", b"t" * 70_000, b"\r\n\r\n"), in_body=True),
    either("trailers-many", _body(b"0\r\n", 300 * b"X: y\r\n", b"\r\n", FOLLOWING), in_body=True),
)
