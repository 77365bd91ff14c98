"""Whatever arrives, and in whatever pieces: the same answer, and what is forwarded means what was understood."""

import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.dataplane.http1inspect import inspect_chunks, inspect_head_end, inspect_request, inspect_response
from tests.unit import test_http1_chunks, test_http1_requests, test_http1_responses

REQUESTS = [data for data, _ in (*test_http1_requests.REQUESTS.values(), *test_http1_requests.MALFORMED.values())]
RESPONSES = [test[0] for test in (*test_http1_responses.BODIES.values(), *test_http1_responses.MALFORMED.values())]
CHUNKS = [data for data, _ in (*test_http1_chunks.GOOD.values(), *test_http1_chunks.BAD.values())]

# What an attacker would put where it does not belong.
BYTES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"\x7f", b"\xff", b"/", b"@", b"[", b"%"]
LINES = [
    b"Content-Length: 1",
    b"Transfer-Encoding: chunked",
    b"Host: b",
    b"Connection: close, x",
    b"Upgrade: h2c",
    b"x: y",
]
LINES += [b"Connection: upgrade", b"TE: trailers", b"0", b"1\r\nz"]
PIECES = st.sampled_from(BYTES) | st.sampled_from(LINES).map(lambda line: line + b"\r\n")
SAME = ("method", "target", "authority", "path", "body", "content_length", "minor", "status", "upgrade")


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds, with a few bytes of it replaced, removed, repeated, or cut off."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted(draw(st.integers(0, len(data))) for _ in range(2))
        end = min(end, start + 20)
        match draw(st.sampled_from("irdc")):
            case "i":
                data = data[:start] + draw(PIECES) + data[start:]
            case "r":
                data = data[:start] + draw(PIECES) + data[end:]
            case "d":
                data = data[:end] + data[start:]
            case "c":
                data = data[:start] + data[end:]
    return data


@st.composite
def split(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(whole)
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def framing_fields(data: bytes) -> list[bytes]:
    return re.findall(rb"(?im)^(content-length|transfer-encoding|host)[ \t]*:", data)


def check_forwarded(seen: dict[str, Any], data: bytes, again: dict[str, Any]) -> None:
    """`again` is what is understood of what was forwarded of `data`."""
    rendered = seen["rendered"]
    assert again["error"] is None
    assert {name: again[name] for name in SAME} == {name: seen[name] for name in SAME}
    assert again["rendered"] == rendered
    assert inspect_head_end([rendered]) == len(rendered)
    assert framing_fields(rendered) == framing_fields(data)
    lines = data.split(b"\r\n")
    changed = re.compile(rb"(?i)(connection|te|upgrade):")
    assert all(line in lines or changed.match(line) for line in rendered.split(b"\r\n"))


@given(mutated(REQUESTS))
def test_a_request_is_refused_or_forwarded_as_it_was_understood(data: bytes) -> None:
    seen = inspect_request(data)
    if seen["error"] is not None or seen["too_large"]:
        assert seen["rendered"] == b""
        return
    assert inspect_head_end([data]) == len(data)
    assert len({name.lower() for name in framing_fields(data)} - {b"host"}) <= 1
    check_forwarded(seen, data, inspect_request(seen["rendered"]))


@given(mutated(RESPONSES), st.booleans(), st.booleans())
def test_a_response_is_refused_or_forwarded_as_it_was_understood(data: bytes, to_head: bool, to_connect: bool) -> None:
    seen = inspect_response(data, to_head, to_connect)
    if seen["error"] is not None or seen["too_large"]:
        assert seen["rendered"] == b""
        return
    assert inspect_head_end([data]) == len(data)
    assert len({name.lower() for name in framing_fields(data)} - {b"host"}) <= 1
    check_forwarded(seen, data, inspect_response(seen["rendered"], to_head, to_connect))


@given(split(mutated(REQUESTS)))
@example([b"GET / HTTP/1.1\r", b"\n\r", b"\n"])
@example([b"\r", b"\n"])
def test_a_head_ends_at_the_same_place_however_it_is_split(pieces: list[bytes]) -> None:
    assert inspect_head_end(pieces) == inspect_head_end([b"".join(pieces)])


@given(split(mutated(CHUNKS)))
def test_a_chunked_body_ends_at_the_same_place_however_it_is_split(pieces: list[bytes]) -> None:
    assert inspect_chunks(pieces) == inspect_chunks([b"".join(pieces)])


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_chunks_are_counted(chunks: list[bytes], trailers: bool) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    body += b"0\r\nx: y\r\n\r\n" if trailers else b"0\r\n\r\n"
    assert inspect_chunks([body + b"next"]) == (len(body), sum(map(len, chunks)), True, None)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for seen in (inspect_request(data), inspect_response(data)):
        assert seen["error"] is not None
    inspect_head_end([data])
    inspect_chunks([data])
