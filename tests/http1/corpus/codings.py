"""transfer-encoding: beside content-length, and in every disguise (RFC 9112, 6.1 and 6.3, items 3 and 4).

What all of these have in common: one reader sees a chunked body, another does not.
"""

from tests.http1.corpus.entry import (
    CHUNKED,
    FOLLOWING,
    HOST,
    LAST_CHUNK,
    SMUGGLED,
    Entry,
    either,
    get,
    head,
    post,
    refused,
)

CHUNKED_SMUGGLED = LAST_CHUNK + SMUGGLED


def _coded(*fields: bytes) -> bytes:
    """A body that ends at once if it is chunked, and goes on with a request for those who think otherwise."""
    return post(*fields) + CHUNKED_SMUGGLED


_BESIDE_LENGTH = (
    ("cl-te", (b"Content-Length: 48", CHUNKED)),
    ("te-cl", (CHUNKED, b"Content-Length: 4")),
    ("cl-te-right-length", (b"Content-Length: 5", CHUNKED)),
    ("cl-zero-te", (b"Content-Length: 0", CHUNKED)),
    ("cl-te-unknown", (b"Content-Length: 48", b"Transfer-Encoding: xchunked")),
    ("cl-te-identity", (b"Content-Length: 48", b"Transfer-Encoding: identity")),
    ("cl-te-empty", (b"Content-Length: 48", b"Transfer-Encoding:")),
    ("cl-te-capitals", (b"Content-Length: 48", b"TRANSFER-ENCODING: CHUNKED")),
    ("cl-te-named-by-connection", (b"Connection: Transfer-Encoding", b"Content-Length: 48", CHUNKED)),
    ("te-named-by-connection-cl", (b"Connection: Content-Length", CHUNKED, b"Content-Length: 48")),
)
_WRONG_FIELDS = (
    ("te-unknown", b"Transfer-Encoding: xchunked"),
    ("te-identity", b"Transfer-Encoding: identity"),
    ("te-gzip", b"Transfer-Encoding: gzip"),
    ("te-empty", b"Transfer-Encoding:"),
    ("te-chunked-identity", b"Transfer-Encoding: chunked, identity"),
    ("te-chunked-gzip", b"Transfer-Encoding: chunked, gzip"),
    ("te-chunked-twice", b"Transfer-Encoding: chunked, chunked"),
    ("te-chunked-suffix", b"Transfer-Encoding: chunkedx"),
    ("te-chunked-then-word", b"Transfer-Encoding: chunked foo"),
    ("te-semicolon", b"Transfer-Encoding: ;chunked"),
    ("te-double-quoted", b'Transfer-Encoding: "chunked"'),
    ("te-single-quoted", b"Transfer-Encoding: 'chunked'"),
    ("te-colon-twice", b"Transfer-Encoding:: chunked"),
    ("te-vertical-tab-before", b"Transfer-Encoding:\x0bchunked"),
    ("te-vertical-tab-after", b"Transfer-Encoding: chunked\x0b"),
    ("te-form-feed-before", b"Transfer-Encoding:\x0cchunked"),
    ("te-nbsp-before", b"Transfer-Encoding: \xa0chunked"),
    ("te-backspace", b"Transfer-Encoding: \x08chunked"),
    ("te-delete", b"Transfer-Encoding: \x7fchunked"),
    ("te-eight-bit-after", b"Transfer-Encoding: chunked\xff"),
    ("te-nul-before", b"Transfer-Encoding: \x00chunked"),
    ("te-nul-after", b"Transfer-Encoding: chunked\x00"),
    ("te-blank-before-colon", b"Transfer-Encoding : chunked"),
    ("te-tab-before-colon", b"Transfer-Encoding\t: chunked"),
    ("te-vertical-tab-before-colon", b"Transfer-Encoding\x0b: chunked"),
    ("te-nul-in-name", b"Transfer-Encoding\x00: chunked"),
    ("te-eight-bit-in-name", b"Transfer-Encoding\xff: chunked"),
    ("te-blank-before-name", b"X: y\r\n Transfer-Encoding: chunked"),
    ("te-tab-before-name", b"X: y\r\n\tTransfer-Encoding: chunked"),
    ("te-folded-value", b"Transfer-Encoding:\r\n chunked"),
    ("te-folded-value-tab", b"Transfer-Encoding:\r\n\tchunked"),
    ("te-folded-second-value", b"Transfer-Encoding: chunked\r\n , identity"),
    ("te-bare-cr-before", b"X: y\rTransfer-Encoding: chunked"),
    ("te-bare-cr-after", b"Transfer-Encoding: chunked\r"),
    ("te-bare-cr-within", b"Transfer-Encoding: chun\rked"),
    ("te-no-colon", b"Transfer-Encoding chunked"),
    ("te-blank-within-name", b"Transfer Encoding: chunked"),
)

ENTRIES: tuple[Entry, ...] = (
    *(refused(name, _coded(*fields)) for name, fields in _BESIDE_LENGTH),
    *(refused(name, _coded(field)) for name, field in _WRONG_FIELDS),
    # With a length beside it, whoever overlooks the disguised field reads another body.
    *(refused(f"cl-{name}", _coded(b"Content-Length: 48", field)) for name, field in _WRONG_FIELDS[-17:]),
    refused("te-two-fields-both-chunked", _coded(CHUNKED, CHUNKED)),
    refused("te-two-fields-second-unknown", _coded(CHUNKED, b"Transfer-Encoding: cow")),
    refused("te-two-fields-first-unknown", _coded(b"Transfer-Encoding: cow", CHUNKED)),
    refused("te-two-fields-identity-first", _coded(b"Transfer-Encoding: identity", CHUNKED)),
    refused("te-two-fields-empty-second", _coded(CHUNKED, b"Transfer-encoding:")),
    refused("te-cl-after-a-good-request", FOLLOWING + _coded(CHUNKED, b"Content-Length: 4"), after=1),
    refused("get-cl-te", get(b"Content-Length: 48", CHUNKED) + CHUNKED_SMUGGLED),
    refused("cl-te-http-1.0", head(b"POST / HTTP/1.0", HOST, b"Content-Length: 48", CHUNKED) + CHUNKED_SMUGGLED),
    either("te-http-1.0", head(b"POST / HTTP/1.0", HOST, CHUNKED) + CHUNKED_SMUGGLED),
    either("te-http-1.0-keep-alive", head(b"POST / HTTP/1.0", HOST, b"Connection: keep-alive", CHUNKED) + LAST_CHUNK),
    either("te-comma-before", _coded(b"Transfer-Encoding: , chunked")),
    either("te-comma-after", _coded(b"Transfer-Encoding: chunked,")),
    either("te-parameter", _coded(b"Transfer-Encoding: chunked;a=b")),
    either("te-gzip-chunked", _coded(b"Transfer-Encoding: gzip, chunked")),
    either("te-blanks-after", _coded(b"Transfer-Encoding: chunked \t "), requests=2),
    either("te-tab-after-colon", _coded(b"Transfer-Encoding:\tchunked"), requests=2),
    either("te-bare-lf-before", _coded(b"X: y\nTransfer-Encoding: chunked")),
    either("te-bare-lf-within", _coded(b"Transfer-Encoding: \nchunked")),
    either("te-underscored-name", _coded(b"Transfer_Encoding: chunked")),
    either("te-named-by-connection", _coded(b"Connection: Transfer-Encoding", CHUNKED), requests=2),
    either("te-in-head-of-head", head(b"HEAD / HTTP/1.1", HOST, CHUNKED) + CHUNKED_SMUGGLED, requests=2),
)
