"""More than one request on a connection, and connections that become something else.

Pipelining (RFC 9112, 9.3.2), Expect (RFC 9110, 10.1.1), Upgrade (RFC 9110, 7.8), CONNECT (RFC 9110, 9.3.6).
"""

from tests.http1.corpus.entry import (
    CHUNKED,
    FOLLOWING,
    HOST,
    LAST_CHUNK,
    SMUGGLED,
    WEBSOCKET,
    Entry,
    answered,
    chunk,
    either,
    get,
    head,
    post,
    refused,
)

_H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
_TUNNEL = head(b"CONNECT mesh.test:8443 HTTP/1.1", b"Host: mesh.test:8443")

ENTRIES: tuple[Entry, ...] = (
    answered("pipelined-two", get() + FOLLOWING, requests=2),
    answered("pipelined-twenty", b"".join(get(target=b"/%d" % number) for number in range(20)), requests=20),
    answered("pipelined-after-a-body", post(b"Content-Length: 5") + b"hello" + FOLLOWING, requests=2),
    answered("pipelined-after-chunks", post(CHUNKED) + chunk(b"hello") + LAST_CHUNK + FOLLOWING, requests=2),
    answered(
        "pipelined-bodies",
        3 * (post(CHUNKED) + chunk(b"abc") + LAST_CHUNK + post(b"Content-Length: 3") + b"def"),
        requests=6,
    ),
    answered("pipelined-head-then-get", head(b"HEAD / HTTP/1.1", HOST) + FOLLOWING, requests=2),
    either("pipelined-after-close", get(b"Connection: close") + FOLLOWING, requests=1),
    either("pipelined-after-close-in-capitals", get(b"Connection: CLOSE") + FOLLOWING, requests=1),
    either("pipelined-after-empty-line", post(b"Content-Length: 5") + b"hello\r\n" + FOLLOWING, requests=2),
    refused("pipelined-garbage", get() + b"garbage\r\n\r\n", after=1),
    refused("pipelined-nul", get() + b"\x00\x00\x00\x00\r\n\r\n", after=1),
    refused("pipelined-wrong-third", get() + FOLLOWING + get(b"X : y"), after=2),
    # Expect is forwarded; whoever cannot meet one may say 417, and goes on reading the body.
    answered("expect-and-chunked", post(CHUNKED, b"Expect: 100-continue") + chunk(b"hello") + LAST_CHUNK),
    either("expect-without-a-body", get(b"Expect: 100-continue") + FOLLOWING, requests=2),
    either("expect-with-body-like-a-request", post(b"Content-Length: 43", b"Expect: 100-continue") + SMUGGLED, 1),
    # Upgrade: h2c would be a way around everything that is checked.
    either("upgrade-h2c", get(*_H2C) + FOLLOWING, requests=2),
    either("upgrade-h2c-with-body", post(*_H2C, b"Content-Length: 5") + b"hello" + FOLLOWING, requests=2),
    either("upgrade-h2c-with-preface", get(*_H2C) + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", requests=1),
    either("upgrade-h2c-not-in-connection", get(b"Upgrade: h2c") + FOLLOWING, requests=2),
    either("upgrade-http2-settings-twice", get(*_H2C, b"HTTP2-Settings: AAAA"), requests=1),
    either(
        "upgrade-websocket-with-body",
        post(*WEBSOCKET, b"Content-Length: 43") + SMUGGLED,
        requests=1,
        not_heard=("httptools",),
    ),
    either(
        "upgrade-chunked-websocket",
        post(*WEBSOCKET, CHUNKED) + LAST_CHUNK + FOLLOWING,
        requests=2,
        not_heard=("httptools",),
    ),
    either("upgrade-tls", get(b"Connection: Upgrade", b"Upgrade: TLS/1.0") + FOLLOWING, requests=2),
    # CONNECT: everything behind it belongs to the tunnel.
    answered("connect", _TUNNEL, not_heard=("nginx",)),
    answered("connect-leftover-bytes", _TUNNEL + b"\x16\x03\x01 tunnelled", not_heard=("nginx",)),
    answered("connect-leftover-like-a-request", _TUNNEL + SMUGGLED, not_heard=("nginx",)),
    refused("connect-with-path", head(b"CONNECT / HTTP/1.1", HOST)),
    refused("connect-absolute", head(b"CONNECT http://mesh.test/ HTTP/1.1", HOST)),
    refused("connect-without-port", head(b"CONNECT mesh.test HTTP/1.1", HOST)),
    refused("connect-other-host", head(b"CONNECT mesh.test:8443 HTTP/1.1", b"Host: other.test:8443")),
    either(
        "connect-with-length",
        head(b"CONNECT mesh.test:8443 HTTP/1.1", b"Host: mesh.test:8443", b"Content-Length: 43") + SMUGGLED,
    ),
    either(
        "connect-chunked",
        head(b"CONNECT mesh.test:8443 HTTP/1.1", b"Host: mesh.test:8443", CHUNKED) + LAST_CHUNK + SMUGGLED,
    ),
)
