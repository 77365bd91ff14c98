"""The stage itself: what was sent is what was recorded, and no exchange leaves anything to the next one."""

from collections.abc import Iterator

import pytest

from tests.http1.corpus.entry import CHUNKED, FOLLOWING, LAST_CHUNK, SMUGGLED, chunk, get, head, post
from tests.http1.exchange import Lane, Message
from tests.http1.references import copying


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    with copying() as lanes:
        yield lanes[0]


def test_every_byte_is_recorded_and_whole_requests_are_answered(lane: Lane) -> None:
    sent = get() + post(b"Content-Length: 5") + b"hello" + post(CHUNKED) + chunk(b"hello") + LAST_CHUNK + FOLLOWING
    exchange = lane.exchange(Message(sent, answers=4))
    assert exchange.statuses == (200,) * 4
    assert not exchange.closed
    assert [each.data for each in exchange.forwarded] == [sent]


def test_bytes_sent_one_at_a_time_are_the_same_bytes(lane: Lane) -> None:
    sent = post(CHUNKED) + chunk(b"hello") + LAST_CHUNK + FOLLOWING
    exchange = lane.exchange(Message(sent, answers=2, piece_bytes=1))
    assert exchange.statuses == (200, 200)
    assert [each.data for each in exchange.forwarded] == [sent]


def test_what_is_not_whole_is_recorded_and_does_not_reach_the_next_exchange(lane: Lane) -> None:
    begun = post(b"Content-Length: 500") + b"begun"
    exchange = lane.exchange(Message(begun, patience_s=0.1))
    assert (exchange.statuses, [each.data for each in exchange.forwarded]) == ((), [begun])
    exchange = lane.exchange(Message(get()))
    assert (exchange.statuses, [each.data for each in exchange.forwarded]) == ((200,), [get()])


def test_what_is_not_to_the_letter_stays_unanswered(lane: Lane) -> None:
    exchange = lane.exchange(Message(get() + get(b"X : y") + FOLLOWING, answers=2, patience_s=0.1))
    assert exchange.statuses == (200,)


def test_a_request_that_ends_the_connection_is_the_last_one(lane: Lane) -> None:
    exchange = lane.exchange(Message(get(b"Connection: close"), answers=2))
    assert (exchange.statuses, exchange.closed) == ((200,), True)


def test_expectations_are_met_before_the_body_comes(lane: Lane) -> None:
    exchange = lane.exchange(Message(post(b"Content-Length: 5", b"Expect: 100-continue"), patience_s=0.1))
    assert exchange.received == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_connect_makes_a_tunnel_in_which_nothing_is_answered(lane: Lane) -> None:
    sent = head(b"CONNECT mesh.test:8443 HTTP/1.1", b"Host: mesh.test:8443") + SMUGGLED
    exchange = lane.exchange(Message(sent, answers=2, patience_s=0.1))
    assert exchange.statuses == (200,)
    assert [each.data for each in exchange.forwarded] == [sent]
