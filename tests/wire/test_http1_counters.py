"""What is counted and logged of HTTP/1.x and TCP, and the averages the balancer goes by (semantics: 3)."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

GET = b"GET /%d?q HTTP/1.1\r\nHost: a.test\r\n\r\n"


def answered(mesh: PlainMesh, response: bytes, after_s: float = 0.0) -> Socket:
    client = mesh.connect()
    client.send(GET % 1)
    mesh.run()
    mesh.advance(after_s)
    mesh.server().take()
    mesh.server().send(response)
    mesh.run()
    client.take()
    return client


@pytest.mark.parametrize(
    ("status", "classification"),
    [(200, "success"), (404, "success"), (499, "success"), (500, "failure"), (503, "failure")],
)
def test_5xx_are_failures(plain_of: PlainOf, status: int, classification: str) -> None:
    mesh = plain_of()
    answered(mesh, b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
    assert mesh.outcomes() == {(classification, status, -1, ""): 1}
    endpoint = mesh.endpoint(1)
    assert (endpoint.calls, endpoint.failures, endpoint.in_flight) == (1, int(status >= 500), 0)


def test_a_failure_counts_as_slow(plain_of: PlainOf) -> None:
    mesh = plain_of()
    answered(mesh, b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
    assert mesh.endpoint(1).ewma_s == pytest.approx(5)


def test_a_short_response_is_timed_to_its_end(plain_of: PlainOf) -> None:
    mesh = plain_of()
    answered(mesh, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", after_s=1)
    mesh.advance(1)
    mesh.server().send(b"k")
    mesh.run()
    assert mesh.endpoint(1).ewma_s == pytest.approx(2)


def test_a_long_response_is_timed_to_its_head(plain_of: PlainOf) -> None:
    """Its end is as late as its reader is slow."""
    mesh = plain_of(decay_s=1e9)
    answered(mesh, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", after_s=1)
    mesh.advance(30)
    mesh.server().send(b"0\r\n\r\n")
    mesh.run()
    assert mesh.endpoint(1).ewma_s == pytest.approx(1)
    assert mesh.outcomes() == {("success", 200, -1, ""): 1}


def test_an_attempt_in_flight_is_seen(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = mesh.connect()
    client.send(GET % 1)
    mesh.run()
    assert mesh.endpoint(1).in_flight == 1 and mesh.plane.calls == 1
    client.reset()
    mesh.run()
    assert mesh.endpoint(1).in_flight == 0 and mesh.plane.calls == 0
    assert mesh.outcomes() == {("cancelled", 0, -1, ""): 1}


def test_a_repeated_call_is_two_attempts_and_one_call(plain_of: PlainOf) -> None:
    mesh = plain_of()
    client = answered(mesh, b"HTTP/1.1 204 X\r\n\r\n")
    client.send(GET % 2)
    mesh.run()
    mesh.server().reset()
    mesh.run()
    mesh.server().send(b"HTTP/1.1 204 X\r\n\r\n")
    mesh.run()
    assert mesh.outcomes() == {("success", 204, -1, ""): 2, ("retried", 0, -1, "upstream_lost"): 1}
    assert sum(sum(s.end_s.counts) for s in mesh.stats()) == 2
    assert mesh.endpoint(1).calls == 3 and mesh.endpoint(1).failures == 0


def test_a_call_is_one_line_of_the_access_log(plain_of: PlainOf) -> None:
    mesh = plain_of()
    mesh.plane.access_log = []
    client = answered(mesh, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client.send(b"POST /x HTTP/1.1\r\nHost: nowhere\r\nContent-Length: 3\r\n\r\nabc")
    mesh.run()
    lines = [line[1:12] for line in mesh.plane.access_log]
    assert lines == [
        ("outbound", "http1", "a.test", "GET", "/1?q", "echo", "10.0.0.1:50051", "pod-1", 200, -1, "success"),
        ("outbound", "http1", "nowhere", "POST", "/x", "", "", "", 503, -1, "failure"),
    ]
    assert mesh.plane.access_log[0][-3:] == (0, 2, 1)


def test_a_relayed_connection_is_one_call(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    mesh.plane.access_log = []
    client = mesh.relay()
    mesh.run()
    assert mesh.endpoint(1).in_flight == 1
    client.send(b"12345")
    mesh.server().send(b"123")
    client.finish()
    mesh.server().finish()
    mesh.run()
    assert mesh.endpoint(1).in_flight == 0
    assert mesh.outcomes() == {("success", 0, -1, ""): 1}
    assert mesh.plane.access_log[0][-3:] == (5, 3, 1)


def test_a_failed_connection_is_an_attempt_that_was_retried(plain_of: PlainOf) -> None:
    mesh = plain_of(2)
    mesh.modes[mesh.endpoint(1).address] = mesh.modes[mesh.endpoint(2).address] = "refuse"
    client = mesh.connect()
    client.send(GET % 1)
    mesh.advance(4)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert mesh.outcomes() == {
        ("retried", 0, -1, "connect_failed"): 2,
        ("failure", 503, -1, "connect_failed"): 1,
    }
    assert [e.connect_failures for e in mesh.cluster.endpoints] == [2, 2], "the call's, then the dialer's"
    assert all(e.ewma_s > 3 for e in mesh.cluster.endpoints)
