"""Heads that are too large: more than the 64 KiB or the 100 fields that are the default limits."""

from tests.http1.corpus.entry import FOLLOWING, Entry, either, get, head, refused

ENTRIES: tuple[Entry, ...] = (
    refused("value-too-long", get(b"X: " + b"v" * 70_000)),
    refused("name-too-long", get(b"X" * 70_000 + b": v")),
    refused("target-too-long", get(target=b"/" + b"p" * 70_000)),
    refused("fields-too-many", get(*(b"X-%d: v" % number for number in range(150)))),
    refused("fields-together-too-long", get(*(b"X-%d: " % number + b"v" * 2000 for number in range(40)))),
    refused("method-too-long", head(b"M" * 70_000 + b" / HTTP/1.1", b"Host: mesh.test")),
    refused("endless-value", b"GET / HTTP/1.1\r\nHost: mesh.test\r\nX: " + b"v" * 200_000),
    refused("endless-request-line", b"GET /" + b"p" * 200_000),
    refused("too-long-after-a-good-request", FOLLOWING + get(b"X: " + b"v" * 70_000), after=1),
    either("host-very-long", head(b"GET / HTTP/1.1", b"Host: " + b"h" * 5000), requests=1),
    either("empty-lines-without-end", b"\r\n" * 50_000, unfinished=True),
)
