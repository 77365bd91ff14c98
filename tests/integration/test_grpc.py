"""Calls of a grpcio client to grpcio servers through a proxy process: all that a call can carry and do."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from tests.integration.conftest import SHORT_AUTHORITY, SHORT_TIMEOUT_S, Stage, suspended
from tests.support.echo import EchoClient, event_at, server_of
from tests.support.waiting import wait_until

PROMPT_S = 15  # for what happens at once, on a machine that may stand still; the calls would go on for SLOW_S
SLOW_S = 60
LARGE_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 30


@pytest.fixture
def client(shared_stage: Stage) -> Iterator[EchoClient]:
    with EchoClient(shared_stage.address) as client:
        yield client


@pytest.fixture
def call_id() -> str:
    return uuid.uuid4().hex


def test_concurrent_unary_calls_on_one_connection_are_spread_over_the_servers(client: EchoClient) -> None:
    calls, in_flight = 900, 60
    answered_by: Counter[str] = Counter()
    for batch in range(calls // in_flight):
        requests = [f"{batch}/{number}".encode() for number in range(in_flight)]
        futures = [client.unary.future(request, timeout=TIMEOUT_S) for request in requests]
        assert [future.result() for future in futures] == requests
        answered_by.update(map(server_of, futures))
    assert max(answered_by.values()) - min(answered_by.values()) <= 1, answered_by


def test_server_streaming(client: EchoClient) -> None:
    assert [len(message) for message in client.expand(b"50 20000", timeout=TIMEOUT_S)] == [20_000] * 50
    assert list(client.expand(b"0 0", timeout=TIMEOUT_S)) == []


def test_client_streaming(client: EchoClient) -> None:
    assert client.collect((bytes(20_000) for _ in range(50)), timeout=TIMEOUT_S) == b"50 1000000"
    assert client.collect(iter(()), timeout=TIMEOUT_S) == b"0 0"


def test_bidirectional_streaming_message_by_message(client: EchoClient) -> None:
    requests: SimpleQueue[bytes | None] = SimpleQueue()
    responses = client.chat(iter(requests.get, None), timeout=TIMEOUT_S)
    for message in (b"", b"one", bytes(100_000)):
        requests.put(message)
        assert next(responses) == message
    requests.put(None)
    assert list(responses) == [b"end"]


def test_messages_of_8_mib_both_ways(client: EchoClient) -> None:
    message = bytes(range(256)) * (LARGE_BYTES // 256)
    assert client.unary(message, timeout=TIMEOUT_S) == message
    assert list(client.chat(iter([message, message]), timeout=TIMEOUT_S)) == [message, message, b"end"]


def test_metadata_arrives_both_ways_as_sent_with_binary_and_repeated_fields(
    client: EchoClient, shared_stage: Stage, call_id: str
) -> None:
    binary = bytes(range(256))
    initial = [("initial-x", "2"), ("initial-bin", binary), ("initial-x", "1"), ("initial-x", "2")]
    trailing = [("trailing-x", "b,c"), ("trailing-bin", binary), ("trailing-bin", b""), ("trailing-x", "a")]
    sent = [*initial, ("grpc-unknown-field", "kept"), *trailing]

    response, call = client.unary.with_call(b"x", metadata=[*sent, ("call-id", call_id)], timeout=TIMEOUT_S)

    assert response == b"x"
    assert [tuple(field) for field in call.initial_metadata()] == initial
    assert [tuple(field) for field in call.trailing_metadata()][:-1] == trailing
    seen = event_at(shared_stage.servers, call_id, "start")["metadata"]
    as_written = [[key, value.hex() if isinstance(value, bytes) else value] for key, value in sent]
    assert [field for field in seen if field[0] not in ("call-id", "user-agent")] == as_written


@pytest.mark.parametrize("number", [1, 4, 5, 8, 14, 16])
def test_a_trailers_only_error_arrives_as_the_server_sent_it(client: EchoClient, number: int) -> None:
    message = "50 % of \u00fcber\n\u2603"
    metadata = [("status-bin", f"{number} {message}".encode()), ("trailing-why", "asked")]
    with pytest.raises(grpc.RpcError) as caught:
        client.unary(b"", metadata=metadata, timeout=TIMEOUT_S)
    error: Any = caught.value
    assert (error.code().value[0], error.details()) == (number, message)
    assert dict(error.trailing_metadata())["trailing-why"] == "asked"
    assert server_of(error) in {"a", "b", "c"}, "the status is not the server's"


def test_the_server_goes_on_after_the_client_has_closed_its_half(client: EchoClient) -> None:
    call = client.chat(iter([b"last"]), metadata=[("sleep-s", "0.2")], timeout=TIMEOUT_S)
    assert list(call) == [b"last", b"end"]
    assert call.code() is grpc.StatusCode.OK


def test_a_status_sent_before_the_upload_is_over_reaches_the_client(client: EchoClient) -> None:
    finished = threading.Event()

    def endless() -> Iterator[bytes]:
        while not finished.is_set():
            yield bytes(50_000)

    with pytest.raises(grpc.RpcError) as caught:
        client.collect(endless(), metadata=[("status-bin", b"9 enough"), ("sleep-s", "0.1")], timeout=TIMEOUT_S)
    finished.set()
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "enough")


@pytest.mark.parametrize("way", ["cancel", "disconnect"])
def test_a_client_that_gives_up_is_noticed_by_the_server_at_once(shared_stage: Stage, call_id: str, way: str) -> None:
    with EchoClient(shared_stage.address) as client:
        call = client.unary.future(b"", metadata=[("call-id", call_id), ("sleep-s", str(SLOW_S))], timeout=2 * SLOW_S)
        event_at(shared_stage.servers, call_id, "start")
        gave_up_at_s = time.monotonic()
        if way == "cancel":
            call.cancel()
        else:
            client.close()
        told = event_at(shared_stage.servers, call_id, "cancelled")
    assert told["at_s"] - gave_up_at_s < PROMPT_S
    assert call.code() is grpc.StatusCode.CANCELLED


def test_the_server_is_told_how_much_time_is_left(client: EchoClient, shared_stage: Stage, call_id: str) -> None:
    client.unary(b"", metadata=[("call-id", call_id)], timeout=60)
    remaining_s = event_at(shared_stage.servers, call_id, "start")["remaining_s"]
    assert 40 < remaining_s <= 60.5  # grpcio rounds what it sends up


def test_a_call_without_a_deadline_gets_none(client: EchoClient, shared_stage: Stage, call_id: str) -> None:
    client.unary(b"", metadata=[("call-id", call_id)])
    remaining_s = event_at(shared_stage.servers, call_id, "start")["remaining_s"]
    assert remaining_s is None or remaining_s > 86_400


def start_of_a_call_that_expires(client: EchoClient, stage: Stage, timeout_s: float | None) -> dict[str, Any]:
    """What a server wrote at the start of a call that takes longer than it may. On a slow machine, of the first one
    that gets to a server in time."""

    def start() -> dict[str, Any] | None:
        call_id = uuid.uuid4().hex
        metadata = [("call-id", call_id), ("sleep-s", str(SLOW_S))]
        call = client.unary.future(b"", metadata=metadata, timeout=timeout_s)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return next((found for server in stage.servers if (found := server.event(call_id, "start"))), None)

    found = wait_until(start, "a call that gets to a server before it expires")
    assert found is not None
    return found


def test_an_expired_deadline_cancels_the_call_on_the_server(client: EchoClient, shared_stage: Stage) -> None:
    start = start_of_a_call_that_expires(client, shared_stage, 0.3)
    assert 0 < start["remaining_s"] <= 0.31
    assert event_at(shared_stage.servers, start["call"], "cancelled")["at_s"] - start["at_s"] < PROMPT_S


@pytest.mark.parametrize("own_timeout_s", [None, SLOW_S], ids=["no deadline", "a later deadline"])
def test_the_proxy_ends_a_call_at_the_limit_of_its_route(shared_stage: Stage, own_timeout_s: float | None) -> None:
    with EchoClient(shared_stage.address, ("grpc.default_authority", SHORT_AUTHORITY)) as client:
        begun_s = time.monotonic()
        with suspended(shared_stage.servers):  # or one, which knows the deadline, may be the first to act on it
            call = client.unary.future(b"", timeout=own_timeout_s)
            assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert SHORT_TIMEOUT_S <= time.monotonic() - begun_s < PROMPT_S
        assert dict(call.trailing_metadata())["x-mesh-error"] == "timeout"

        start = start_of_a_call_that_expires(client, shared_stage, own_timeout_s)
        assert 0 < start["remaining_s"] <= SHORT_TIMEOUT_S
        event_at(shared_stage.servers, start["call"], "cancelled")


def test_an_earlier_deadline_of_the_client_counts_more_than_the_limit_of_the_route(shared_stage: Stage) -> None:
    with EchoClient(shared_stage.address, ("grpc.default_authority", SHORT_AUTHORITY)) as client:
        start = start_of_a_call_that_expires(client, shared_stage, SHORT_TIMEOUT_S / 2)
    assert 0 < start["remaining_s"] <= SHORT_TIMEOUT_S / 2 + 0.01


def test_a_call_that_no_route_matches_is_unavailable(shared_stage: Stage) -> None:
    channel = grpc.insecure_channel(shared_stage.address, options=[("grpc.enable_http_proxy", 0)])
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/mesh.test.Other/Unary")(b"", timeout=TIMEOUT_S)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "x-mesh-error" in dict(error.trailing_metadata())


def test_endpoints_and_metrics_show_the_calls_that_were_made(client: EchoClient, shared_stage: Stage) -> None:
    proxy = shared_stage.proxy
    labels = {"cluster": "echo", "method": "mesh.test.Echo/Expand"}

    def shown() -> dict[str, float]:
        return {
            "requests": proxy.metric("meshctl_request_total", **labels),
            "failed": proxy.metric("meshctl_response_total", **labels, classification="failure", grpc_status="13"),
            "succeeded": proxy.metric(
                "meshctl_response_total",
                **labels,
                classification="success",
                grpc_status="0",
                http_status="200",
            ),
            "messages": proxy.metric("meshctl_messages_total", **labels, direction="response"),
            "timed": proxy.metric("meshctl_response_seconds_count", **labels),
            "in flight": proxy.metric("meshctl_calls_in_flight", **labels),
            "calls": sum(endpoint["calls"] for endpoint in proxy.endpoints()["echo"]["endpoints"]),
            "failures": sum(endpoint["failures"] for endpoint in proxy.endpoints()["echo"]["endpoints"]),
        }

    wait_until(lambda: proxy.metric("meshctl_calls_in_flight") == 0, "the calls of other tests are over")
    before = shown()
    for _ in range(4):
        assert len(list(client.expand(b"3 10", timeout=TIMEOUT_S))) == 3
    with pytest.raises(grpc.RpcError):
        list(client.expand(b"3 10", metadata=[("status-bin", b"13 asked")], timeout=TIMEOUT_S))

    made = {"requests": 5, "failed": 1, "succeeded": 4, "messages": 12, "timed": 5, "in flight": 0}
    expected = {name: before[name] + count for name, count in {**made, "calls": 5, "failures": 1}.items()}
    wait_until(lambda: shown() == expected, f"{expected}, not {shown()},")

    endpoints = proxy.endpoints()["echo"]["endpoints"]
    assert [endpoint["address"] for endpoint in endpoints] == [s.address for s in shared_stage.servers]
    assert all(endpoint["state"] == "ready" and endpoint["connections"] == 1 for endpoint in endpoints)
    assert all(endpoint["ewma_ms"] > 0 and endpoint["in_flight"] == 0 for endpoint in endpoints)
