"""The protocol of a connection and the host name of a TLS hello, from bytes that come in any pieces."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.net.detection import LONG_LINE_BYTES, MOST_LINE_BYTES, PREFACE, Kind, detect

T = TypeVar("T")

GET = b"GET /api/list HTTP/1.1\r\nHost: web.emojivoto\r\nAccept: */*\r\n\r\n"
TLS_RECORD = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

# What is sent, what it is, and by which of its bytes that is clear.
DECISIONS = [
    pytest.param(PREFACE + b"\x00\x00\x00\x04", Kind.HTTP2, 24, id="preface"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", Kind.TCP, 24, id="preface with another end"),
    pytest.param(b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n", Kind.TCP, 17, id="PRI as a request of HTTP/2"),
    pytest.param(b"PRI * HTTP/1.1\r\n\r\n", Kind.HTTP1, 16, id="PRI as a request of HTTP/1"),
    pytest.param(b"\r\n" + PREFACE, Kind.TCP, 17, id="preface after an empty line"),
    pytest.param(GET, Kind.HTTP1, 24, id="GET"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", Kind.HTTP1, 16, id="HTTP/1.0"),
    pytest.param(b"M-SEARCH * HTTP/1.1\r\n\r\n", Kind.HTTP1, 21, id="unregistered method"),
    pytest.param(b"GET /caf\xc3\xa9 HTTP/1.1\r\n\r\n", Kind.HTTP1, 21, id="bytes over 127 in the target"),
    pytest.param(b"GET  /  a  HTTP/1.1\r\n\r\n", Kind.HTTP1, 21, id="too many blanks"),
    pytest.param(b"GET HTTP/1.1\r\n\r\n", Kind.HTTP1, 14, id="no target"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", Kind.HTTP1, 15, id="bare LF"),
    pytest.param(b"\r\nGET / HTTP/1.1\r\n\r\n", Kind.HTTP1, 18, id="after an empty line"),
    pytest.param(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Kind.HTTP1, 20, id="after two empty lines"),
    pytest.param(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Kind.TCP, 5, id="after three empty lines"),
    pytest.param(b"\nGET / HTTP/1.1\r\n\r\n", Kind.TCP, 1, id="after a bare LF"),
    pytest.param(b"\rGET / HTTP/1.1\r\n\r\n", Kind.TCP, 2, id="after a bare CR"),
    pytest.param(b"A" * 32 + b" / HTTP/1.1\r\n", Kind.HTTP1, 45, id="token of 32 bytes"),
    pytest.param(b"A" * 33 + b" / HTTP/1.1\r\n", Kind.TCP, 33, id="token of 33 bytes"),
    pytest.param(b"HELO example.org\r\n", Kind.TCP, 17, id="SMTP"),
    pytest.param(b"SET a b\r\n", Kind.TCP, 8, id="Redis inline command"),
    pytest.param(b"PING\r\n", Kind.TCP, 5, id="a word"),
    pytest.param(b"GET /index.html\r\n", Kind.TCP, 16, id="HTTP/0.9"),
    pytest.param(b"GET / HTTP/2.0\r\n", Kind.TCP, 15, id="HTTP/2.0"),
    pytest.param(b"GET / HTTP/1.12\r\n", Kind.TCP, 16, id="HTTP/1.12"),
    pytest.param(b"GET /HTTP/1.1\r\n", Kind.TCP, 14, id="version in the target"),
    pytest.param(b"GET / HTTP/1.1\rX", Kind.TCP, 16, id="bare CR after the version"),
    pytest.param(b"GET /\x00 HTTP/1.1\r\n", Kind.TCP, 6, id="control byte in the line"),
    pytest.param(b"GET /\x7f HTTP/1.1\r\n", Kind.TCP, 6, id="DEL in the line"),
    pytest.param(b"GET\t/ HTTP/1.1\r\n", Kind.TCP, 4, id="tab"),
    pytest.param(b"*1\r\n$4\r\nPING\r\n", Kind.TCP, 3, id="Redis"),
    pytest.param(b"(a) HTTP/1.1\r\n", Kind.TCP, 1, id="no token"),
    pytest.param(b" GET / HTTP/1.1\r\n", Kind.TCP, 1, id="begins with a blank"),
    pytest.param(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Kind.TCP, 1, id="PostgreSQL"),
    pytest.param(b"\xff\xfe", Kind.TCP, 1, id="bytes over 127"),
    pytest.param(TLS_RECORD, Kind.TLS, 6, id="ClientHello"),
    pytest.param(b"\x16\x03\x00\x00\x01\x01", Kind.TLS, 6, id="shortest record, lowest version"),
    pytest.param(b"\x16\x03\x04\x40\x00\x01", Kind.TLS, 6, id="longest record, highest version"),
    pytest.param(b"\x16\x02\x00\x01\x00\x01", Kind.TCP, 2, id="SSL 2"),
    pytest.param(b"\x16\x03\x05\x01\x00\x01", Kind.TCP, 3, id="no version of TLS"),
    pytest.param(b"\x16\x03\x01\x00\x00\x01", Kind.TCP, 5, id="empty record"),
    pytest.param(b"\x16\x03\x01\x40\x01\x01", Kind.TCP, 5, id="record too long"),
    pytest.param(b"\x16\x03\x03\x00\x51\x02", Kind.TCP, 6, id="ServerHello"),
    pytest.param(b"\x17\x03\x03\x00\x51\x01", Kind.TCP, 1, id="TLS application data"),
]

LONG_LINES = [
    pytest.param(b"GET /", Kind.HTTP1, LONG_LINE_BYTES, id="request"),
    pytest.param(b"POST http://a/", Kind.HTTP1, LONG_LINE_BYTES, id="request to a proxy"),
    pytest.param(b"GET ", Kind.HTTP1, MOST_LINE_BYTES, id="method"),
    pytest.param(b"OPTIONS  /", Kind.HTTP1, MOST_LINE_BYTES, id="two blanks"),
    pytest.param(b"SET /", Kind.TCP, MOST_LINE_BYTES, id="no method"),
    pytest.param(b"get /", Kind.TCP, MOST_LINE_BYTES, id="method in lower case"),
]


def first_answer(answer: Callable[[bytes], T], nothing: T, data: bytes) -> tuple[T, int]:
    """What `answer` says of the bytes, given one more at a time, and after how many; it must not change its mind."""
    answers = [answer(data[:count]) for count in range(len(data) + 1)]
    count = next((count for count, said in enumerate(answers) if said != nothing), len(data))
    assert answers[:count] == [nothing] * count
    assert set(answers[count:]) == {answers[-1]}
    return answers[-1], count


@pytest.mark.parametrize(("data", "kind", "count"), DECISIONS)
def test_decided_at_the_byte_that_makes_it_clear(data: bytes, kind: Kind, count: int) -> None:
    assert first_answer(detect, None, data) == (kind, count)


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"P", b"GET", b"A" * 32, b"GET / HTTP/1.1\r", b"SET a b"])
def test_undecided_while_it_can_become_a_request(data: bytes) -> None:
    assert first_answer(detect, None, data) == (None, len(data))


@pytest.mark.parametrize(("start", "kind", "limit"), LONG_LINES)
@pytest.mark.parametrize("empty_lines", [b"", b"\r\n\r\n"])
def test_a_long_line_is_decided_at_its_limit_without_its_end(
    start: bytes, kind: Kind, limit: int, empty_lines: bytes
) -> None:
    line = empty_lines + start.ljust(limit, b"a")
    assert detect(line) is None
    assert detect(line + b"a") == kind
    # Whatever follows, and also if all of it comes at once.
    for end in (b" HTTP/1.1\r\n", b"\r\n", b"\x00", b"a" * MOST_LINE_BYTES):
        assert detect(line + b"a" + end) == kind


@pytest.mark.parametrize("start", [b"GET /", b"GET ", b"SET /"])
@pytest.mark.parametrize("end", [(b" HTTP/1.1\r\n", Kind.HTTP1), (b" HTTP/3\r\n", Kind.TCP), (b"\x00", Kind.TCP)])
def test_a_line_within_the_limit_is_decided_by_its_end(start: bytes, end: tuple[bytes, Kind]) -> None:
    text, kind = end
    for limit in (LONG_LINE_BYTES, MOST_LINE_BYTES)[: 1 if start == b"GET /" else 2]:
        line = start.ljust(limit - len(text), b"a") + text
        assert detect(line) == kind
        assert detect(line[: -len(text)]) is None


@pytest.mark.parametrize("limit", [LONG_LINE_BYTES, MOST_LINE_BYTES])
@pytest.mark.parametrize("start", [b"GET /", b"GET ", b"SET /"])
@pytest.mark.parametrize("end", [b" HTTP/1.1\r\n", b" HTTP/1.1\rX", b" HTTP/1.1\n", b" HTTP/3\r\n", b"\x00"])
def test_a_decision_near_a_limit_stays(limit: int, start: bytes, end: bytes) -> None:
    for length in range(limit - len(end) - 1, limit + 3):
        line = start.ljust(length, b"a") + end + b"\r\n"
        answers = [detect(line[:count]) for count in range(limit - 1, len(line) + 1)]
        decisions = [answer for answer in answers if answer is not None]
        assert answers == [None] * (len(answers) - len(decisions)) + [answers[-1]] * len(decisions)
        assert answers[-1] is not None


WHOLE = [PREFACE, GET, TLS_RECORD]
PARTS = [PREFACE[:18], b"PRI", b"GET", b"A" * 31, b" ", b"/", b"*", b" HTTP/1.1", b" HTTP/2.0", b"\r\n", b"\r", b"\n"]
PIECES = st.sampled_from([*WHOLE, *PARTS, b"\x16", b"\x03", b"\x00"])


@given(st.lists(PIECES | st.binary(max_size=3), max_size=12).map(b"".join) | st.binary(max_size=40))
@example(b"GET / HTTP/1.1\r\r\n")
def test_a_decision_is_of_the_shortest_prefix_and_stays(data: bytes) -> None:
    kind, _ = first_answer(detect, None, data)
    assert detect(bytearray(data)) is kind
    assert detect(memoryview(data)) is kind


@given(st.sampled_from(WHOLE), st.data())
def test_every_beginning_of_a_protocol_can_still_become_it(whole: bytes, choice: st.DataObject) -> None:
    cut = choice.draw(st.integers(0, len(whole)))
    assert detect(whole[:cut]) in (None, detect(whole))


def test_each_kind_has_a_case() -> None:
    assert {case.values[1] for case in DECISIONS} == set(Kind)
