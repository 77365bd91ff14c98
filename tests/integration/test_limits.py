"""Where something runs full: a stalled reader, an endpoint at its limit of streams; and what is left over."""

import random
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.conftest import Stage, echo_config, suspended, wait_for_connections
from tests.support.echo import EchoClient, echo_servers
from tests.support.memory import SANITIZER_BYTES, descriptors, rss_bytes
from tests.support.ports import free_address
from tests.support.process import ProxyProcess, start_proxy, start_python
from tests.support.waiting import wait_until

MIB = 1024 * 1024
GROWTH_BYTES = 16 * MIB + SANITIZER_BYTES
TIMEOUT_S = 60


def test_streams_that_nobody_reads_stop_neither_their_siblings_nor_fill_the_memory(stage: Stage) -> None:
    streams, stream_bytes = 8, 50 * MIB
    with EchoClient(stage.address) as client:
        assert client.unary(b"x", timeout=TIMEOUT_S) == b"x"
        before_bytes = rss_bytes(stage.proxy.pid)
        stalled = [client.expand(f"50 {MIB}".encode(), timeout=TIMEOUT_S) for _ in range(streams)]
        for stream in stalled:
            next(stream)
        for number in range(200):
            request = str(number).encode()
            assert client.unary(request, timeout=TIMEOUT_S) == request
        grown_bytes = rss_bytes(stage.proxy.pid) - before_bytes
        assert grown_bytes < GROWTH_BYTES, f"grown by {grown_bytes} bytes with {streams * stream_bytes} unread"
        for stream in stalled:
            assert sum(len(message) for message in stream) == stream_bytes - MIB


def test_a_server_that_does_not_read_slows_its_client_and_fills_no_memory(stage: Stage) -> None:
    sent_bytes = 0

    def requests() -> Any:
        nonlocal sent_bytes
        for _ in range(100):
            sent_bytes += MIB
            yield bytes(MIB)

    with EchoClient(stage.address) as client:
        assert client.unary(b"x", timeout=TIMEOUT_S) == b"x"
        before_bytes = rss_bytes(stage.proxy.pid)
        with suspended(stage.servers):
            call = client.collect.future(requests(), timeout=TIMEOUT_S)
            sent_before = -1
            while sent_before != sent_bytes:
                sent_before = sent_bytes
                time.sleep(0.5)
            assert sent_bytes < 20 * MIB, "the client could send although nobody reads"
            assert rss_bytes(stage.proxy.pid) - before_bytes < GROWTH_BYTES
        assert call.result() == f"100 {100 * MIB}".encode()


@pytest.mark.parametrize("calls", [40, 200])
def test_more_calls_than_an_endpoint_takes_get_more_connections_and_wait(tmp_path: Path, calls: int) -> None:
    address, streams = free_address(), 5
    name = "strict"  # it cuts a connection that has one stream too many
    with start_python("tests.support.graceful_server", address, name, str(streams), name=name) as server:
        server.wait_for_port(address)
        config = echo_config(address)
        config["clusters"][0] |= {"max_pending": calls, "failfast_s": TIMEOUT_S, "connect_timeout_s": TIMEOUT_S}
        with start_proxy(config, tmp_path) as proxy, EchoClient(proxy.listener("outbound")) as client:
            wait_for_connections(proxy, 1)
            server.signal(signal.SIGSTOP)  # so that all are there before one is answered
            made = [client.unary.future(b"", timeout=TIMEOUT_S) for _ in range(calls)]
            proxy.wait_until(lambda: proxy.metric("meshctl_request_total") == streams, "as many as may")
            proxy.wait_until(lambda: proxy.metric("meshctl_cluster_pending") == calls - streams, "the others wait")
            server.signal(signal.SIGCONT)
            assert Counter((call.code().name, call.details()) for call in made) == {("OK", ""): calls}
            (endpoint,) = proxy.endpoints()["echo"]["endpoints"]
            assert 2 <= endpoint["connections"] <= 10


def test_headers_up_to_the_limit_pass_and_above_it_that_call_alone_fails(tmp_path: Path) -> None:
    accepting_more = {"grpc.max_metadata_size": 200_000, "grpc.absolute_max_metadata_size": 200_000}
    below = [("initial-x", "i" * 30_000), ("trailing-x", "t" * 30_000)]
    above = [*below, ("initial-y", "i" * 10_000)]
    with ExitStack() as stack:
        (server,) = stack.enter_context(echo_servers("a", arguments=accepting_more))
        proxy = stack.enter_context(start_proxy(echo_config(server.address), tmp_path))
        client = stack.enter_context(EchoClient(proxy.listener("outbound"), *accepting_more.items()))
        running = client.chat(iter([b"x"]), metadata=[("sleep-s", "0.3")], timeout=TIMEOUT_S)

        call = client.unary.future(b"", metadata=above, timeout=TIMEOUT_S)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(call.trailing_metadata())["x-mesh-error"] == "headers_too_large"

        call = client.unary.future(b"", metadata=below, timeout=TIMEOUT_S)
        assert call.code() is grpc.StatusCode.OK
        assert below[0] in [tuple(field) for field in call.initial_metadata()]
        assert below[1] in [tuple(field) for field in call.trailing_metadata()]
        assert list(running) == [b"x", b"end"]


def test_nothing_is_left_of_mixed_traffic_while_servers_come_and_go(stage: Stage) -> None:
    counted: Counter[str] = Counter()
    ending = threading.Event()
    threads = [threading.Thread(target=mixed_traffic, args=(stage.address, seed, ending, counted)) for seed in range(6)]
    descriptors_before = descriptors(stage.proxy.pid)
    for thread in threads:
        thread.start()
    for round_ in range(2):
        time.sleep(0.7)
        stage.servers[round_].kill()
        with echo_servers(f"new {round_}", address=stage.servers[round_].address):
            time.sleep(0.7)
    wait_until(lambda: counted["OK"] > 100, "a hundred calls that went well", TIMEOUT_S)
    ending.set()
    for thread in threads:
        thread.join()

    unexpected = set(counted) - {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "ABORTED", "INSIDE_A_MESSAGE"}
    assert not unexpected, counted
    wait_until(lambda: at_rest(stage.proxy), "every call ended and every connection closed")
    assert stage.proxy.metric("meshctl_request_total") == stage.proxy.metric("meshctl_response_total")
    assert stage.proxy.metric("meshctl_faults_total") == 0
    assert descriptors(stage.proxy.pid) <= descriptors_before + 1  # the admin's


def at_rest(proxy: ProxyProcess) -> bool:
    gauges = ("meshctl_calls_in_flight", "meshctl_cluster_pending", "meshctl_downstream_connections")
    in_flight = sum(endpoint["in_flight"] for endpoint in proxy.endpoints()["echo"]["endpoints"])
    return in_flight == 0 and all(proxy.metric(gauge) == 0 for gauge in gauges)


def mixed_traffic(address: str, seed: int, ending: threading.Event, counted: Counter[str]) -> None:
    """Calls of every kind, one after another: some cancelled, some with too little time, some to fail."""
    chance = random.Random(seed)
    while not ending.is_set():
        with EchoClient(address) as client:
            for _ in range(25):
                counted[one_of_many_kinds(client, chance)] += 1


def one_of_many_kinds(client: EchoClient, chance: random.Random) -> str:
    metadata = [("sleep-s", f"{chance.choice([0, 0, 0, 0.01, 0.05])}")]
    if chance.random() < 0.1:
        metadata.append(("status-bin", b"10 asked"))  # type: ignore[arg-type]
    settings: dict[str, Any] = {"metadata": metadata, "timeout": chance.choice([0.005, 0.03, 5, 5, 5])}
    size_bytes = chance.choice([0, 10, 1000, 100_000])
    messages = [bytes(size_bytes)] * chance.randrange(8)
    kind = chance.choice(["unary", "collect", "expand", "chat"])
    if kind == "unary":
        call = client.unary.future(bytes(size_bytes), **settings)
    elif kind == "collect":
        call = client.collect.future(iter(messages), **settings)
    elif kind == "expand":
        call = client.expand(f"{len(messages)} {size_bytes}".encode(), **settings)
    else:
        call = client.chat(iter(messages), **settings)
    if chance.random() < 0.15:
        time.sleep(chance.choice([0, 0.002, 0.02]))
        call.cancel()
    if kind in ("expand", "chat"):
        try:
            received = [len(message) for message in call]
        except grpc.RpcError:
            return outcome(call)
        sent = [size_bytes] * len(messages)
        assert received == (sent if kind == "expand" else [*sent, 3])
    return outcome(call)


def outcome(call: grpc.Call) -> str:
    """The status' name, or INSIDE_A_MESSAGE for a reset: so ends a call whose server was killed inside a message, since
    no status says that a message is not whole."""
    if call.code() is grpc.StatusCode.INTERNAL and "RST_STREAM with error code 2" in call.details():
        return "INSIDE_A_MESSAGE"
    return str(call.code().name)
