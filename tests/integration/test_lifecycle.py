"""The life and death of servers and of the proxy itself, while calls run."""

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from tests.integration.conftest import Stage, echo_config, wait_for_connections
from tests.support.echo import EchoClient, Failure, Load, echo_servers, event_at, server_of
from tests.support.ports import free_address
from tests.support.process import Process, ProxyProcess, start_proxy, start_python
from tests.support.waiting import unless_later_than

TIMEOUT_S = 30


def endpoint(stage: Stage, address: str) -> dict[str, Any]:
    """What `/endpoints` shows of one endpoint."""
    shown: list[dict[str, Any]] = stage.proxy.endpoints()["echo"]["endpoints"]
    return next(one for one in shown if one["address"] == address)


@pytest.mark.parametrize("module", ["proxy", "injector"])
def test_told_to_stop_while_it_starts_it_stops(tmp_path: Path, module: str) -> None:
    """As process 1 of a container it would go on, if nobody took the signal; here it would end by it, not with 0."""
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    with start_python(module, "--config", str(config), name=module) as process, config.open("w"):
        # It has come to where it reads what never comes.
        process.terminate()
        assert process.wait() == 0


# Read by each interpreter that finds it on its path.
NO_IPV6 = """
import errno, socket

class Socket(socket.socket):
    def __init__(self, family=socket.AF_INET, *arguments, **options):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *arguments, **options)

socket.socket = Socket
"""


def test_on_a_kernel_without_ipv6_an_injected_sidecar_starts(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_IPV6)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    port = free_address().rpartition(":")[2]
    listeners = [
        {"name": "outbound", "intercept": "outbound"},
        {"name": "outbound-ipv6", "address": f"[::]:{port}", "intercept": "outbound"},
    ]
    admin = f"[::]:{free_address().rpartition(':')[2]}"
    config = {"listeners": listeners, "admin": {"address": admin}, "discovery": {"mode": "none"}}
    with ProxyProcess(config, tmp_path, {"PYTHONPATH": path}) as proxy:
        loopback = admin.replace("[::]", "127.0.0.1")
        proxy.wait_for_port(loopback)
        proxy.wait_for_port(proxy.listener("outbound"))
        said = "listener outbound-ipv6 is for IPv6, which this kernel runs without"
        proxy.wait_until(lambda: said in proxy.stderr(), said)
        proxy.stop()
    plain = echo_config(free_address())
    plain["listeners"][0]["address"] = f"[::]:{port}"
    with ProxyProcess(plain, tmp_path, {"PYTHONPATH": path}) as proxy:
        assert proxy.wait() == 1, "clients were told to come here"
        assert "Address family not supported" in proxy.stderr()


def test_a_rolling_restart_of_the_servers_costs_no_call(tmp_path: Path) -> None:
    addresses = [free_address() for _ in range(3)]
    with ExitStack() as started:
        running = [graceful_server(address, f"old {address}", started) for address in addresses]
        proxy = started.enter_context(start_proxy(echo_config(*addresses), tmp_path))
        with Load(proxy.listener("outbound")) as load:
            load.wait_for_answers(100)
            for address, server in zip(addresses, running, strict=True):
                server.stop()
                load.wait_for_answers(100)
                graceful_server(address, f"new {address}", started)
                load.wait_for_answers(50, server=f"new {address}")
        assert load.failures == []
        assert set(load.answered_by) == {f"{age} {address}" for age in ("old", "new") for address in addresses}


def graceful_server(address: str, name: str, running: ExitStack) -> Process:
    server = running.enter_context(start_python("tests.support.graceful_server", address, name, name=name))
    server.wait_for_port(address)
    return server


def test_a_rolling_restart_of_grpcio_servers_costs_only_calls_they_fail_themselves(stage: Stage) -> None:
    with ExitStack() as started, Load(stage.address) as load:
        load.wait_for_answers(100)
        for number, server in enumerate(stage.servers):
            server.stop()
            load.wait_for_answers(50)
            started.enter_context(echo_servers(f"new {number}", address=server.address))
            load.wait_for_answers(30, server=f"new {number}")
        load.stop()
    # A grpcio server that is stopping answers what arrives before its clients have heard of it with this
    # status, with or without a proxy.
    assert set(load.failures) <= {Failure("CANCELLED", "CANCELLED", flag="")}


def test_a_rolling_update_that_takes_each_server_out_first_costs_no_call(stage: Stage) -> None:
    addresses = [server.address for server in stage.servers]
    with ExitStack() as started, Load(stage.address) as load:
        load.wait_for_answers(100)
        for number, server in enumerate(stage.servers):
            use_endpoints(stage, *(address for address in addresses if address != server.address))
            server.stop()
            started.enter_context(echo_servers(f"new {number}", address=server.address))
            use_endpoints(stage, *addresses)
            load.wait_for_answers(50, server=f"new {number}")
        load.stop()
    assert load.failures == []


def use_endpoints(stage: Stage, *addresses: str) -> None:
    """Has the proxy use these, and no others, and returns when it does."""
    stage.proxy.configure(echo_config(*addresses))
    stage.proxy.signal(signal.SIGHUP)

    def used() -> set[str]:
        return {one["address"] for one in stage.proxy.endpoints()["echo"]["endpoints"]}

    stage.proxy.wait_until(lambda: used() == set(addresses), "the new endpoints")


def test_servers_that_limit_the_age_of_connections_cost_no_call(tmp_path: Path) -> None:
    with echo_servers("a", "b", arguments={"grpc.max_connection_age_ms": 400}) as servers:
        config = echo_config(*(server.address for server in servers))
        with start_proxy(config, tmp_path) as proxy, Load(proxy.listener("outbound")) as load:
            for server in ("a", "b", "a", "b"):
                load.wait_for_answers(150, server)
                time.sleep(0.5)  # every connection is older than its limit by now
    assert load.failures == []


def test_the_one_server_behind_an_inbound_listener_may_limit_the_age_of_connections(tmp_path: Path) -> None:
    """There is no other endpoint to go to: the calls in between wait for the new connection."""
    age = {"grpc.max_connection_age_ms": 1000, "grpc.max_connection_age_grace_ms": 5000}
    with echo_servers("a", arguments=age) as servers:
        config = echo_config(servers[0].address)
        with (
            start_proxy(config, tmp_path) as proxy,
            EchoClient(proxy.listener("outbound")) as client,
            Load(proxy.listener("outbound")) as load,
        ):
            begun_s = time.monotonic()
            while time.monotonic() - begun_s < 4.5:
                # It is longer than what is left of its connection's age: GOAWAY comes while it runs.
                assert client.unary(b"long", metadata=[("sleep-s", "1")], timeout=TIMEOUT_S) == b"long"
            load.wait_for_answers(50)
            load.stop()
            assert load.failures == []
            wait_for_connections(proxy, 1)


def test_a_killed_server_costs_only_the_calls_that_were_on_it(stage: Stage) -> None:
    killed = stage.servers[0]
    threads = 6
    with EchoClient(stage.address) as client, Load(stage.address, threads) as load:
        ending: SimpleQueue[None] = SimpleQueue()
        calls = {}
        for number in range(12):
            metadata = [("call-id", str(number))]
            calls[number] = client.collect.future(iter(ending.get, None), metadata=metadata, timeout=2 * TIMEOUT_S)
        for number in calls:
            event_at(stage.servers, str(number), "start")
        on_killed = {number for number in calls if killed.event(str(number), "start")}
        killed.kill()
        load.wait_for_answers(300)
        for _ in calls:
            ending.put(None)
        failed = {number for number, call in calls.items() if call.code() is not grpc.StatusCode.OK}

        assert failed == on_killed
        assert 0 < len(on_killed) < len(calls), "the test says nothing: all or none were on the killed server"
        for number in failed:
            assert calls[number].code() is grpc.StatusCode.UNAVAILABLE
            assert dict(calls[number].trailing_metadata())["x-mesh-error"] == "upstream_lost"
        assert len(load.failures) <= threads
        assert {(failure.status, failure.flag) for failure in load.failures} <= {("UNAVAILABLE", "upstream_lost")}
        stage.proxy.wait_until(
            lambda: in_backoff(endpoint(stage, killed.address)), "in backoff, after a failed attempt"
        )
        assert endpoint(stage, killed.address)["connections"] == 0
        assert stage.proxy.metric("meshctl_endpoint_ready", endpoint=killed.address) == 0
        failures_at_the_kill = len(load.failures)

        with echo_servers("back", address=killed.address):
            load.wait_for_answers(50, server="back")
            assert endpoint(stage, killed.address)["state"] == "ready"
            load.stop()
        assert len(load.failures) == failures_at_the_kill


def in_backoff(shown: dict[str, Any]) -> bool:
    return shown["state"] == "backoff" and shown["connect_failures"] > 0


def test_calls_wait_for_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    address = free_address()
    config = echo_config(address)
    config["clusters"][0]["failfast_s"] = TIMEOUT_S  # a server may be slow to start
    with start_proxy(config, tmp_path) as proxy, EchoClient(proxy.listener("outbound")) as client:
        calls = [client.unary.future(str(number).encode(), timeout=TIMEOUT_S) for number in range(20)]
        proxy.wait_until(lambda: proxy.metric("meshctl_cluster_pending", cluster="echo") == 20, "20 pending")
        with echo_servers("late", address=address):
            assert [call.result() for call in calls] == [str(number).encode() for number in range(20)]


def test_without_a_server_calls_fail_once_the_patience_is_over_and_then_at_once(tmp_path: Path) -> None:
    address, failfast_s = free_address(), 1.0
    config = echo_config(address)
    config["clusters"][0]["failfast_s"] = failfast_s
    begun_s = time.monotonic()
    with start_proxy(config, tmp_path) as proxy, EchoClient(proxy.listener("outbound")) as client:

        def refused_after_s() -> float:
            begun_s = time.monotonic()
            call = client.unary.future(b"", timeout=TIMEOUT_S)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            assert dict(call.trailing_metadata())["x-mesh-error"] in ("no_endpoint", "connect_failed")
            return time.monotonic() - begun_s

        refused_after_s()
        assert time.monotonic() - begun_s >= failfast_s
        assert proxy.metric("meshctl_cluster_failfast", cluster="echo") == 1
        assert min(refused_after_s() for _ in range(5)) < failfast_s / 2
        with echo_servers("back", address=address):
            proxy.wait_until(lambda: proxy.metric("meshctl_cluster_failfast") == 0, "calls are taken again")
            assert client.unary(b"again", timeout=TIMEOUT_S) == b"again"


def test_a_proxy_told_to_stop_finishes_the_calls_in_flight(tmp_path: Path) -> None:
    with echo_servers("a") as servers:
        config = echo_config(servers[0].address, shutdown_grace_s=4 * TIMEOUT_S)
        with start_proxy(config, tmp_path) as proxy, EchoClient(proxy.listener("outbound")) as client:
            said: SimpleQueue[bytes | None] = SimpleQueue()
            unary = client.unary.future(b"kept", metadata=[("sleep-s", "1"), ("call-id", "1")], timeout=TIMEOUT_S)
            stream = client.chat(iter(said.get, None), metadata=[("call-id", "2")], timeout=TIMEOUT_S)
            for call_id in ("1", "2"):
                event_at(servers, call_id, "start")
            told_s = time.monotonic()
            proxy.terminate()
            proxy.wait_until(lambda: proxy.get("/ready")[0] == 503, "not ready any more")

            late_arrivals_end_s = told_s + 5  # proxy/drain.py
            with (
                unless_later_than(late_arrivals_end_s, grpc.RpcError),
                EchoClient(proxy.listener("outbound")) as late,
            ):
                assert late.unary(b"late", timeout=TIMEOUT_S) == b"late"
            assert unary.result() == b"kept"
            said.put(b"x")
            said.put(None)
            assert list(stream) == [b"x", b"end"]
            assert proxy.wait() == 0


def test_a_call_longer_than_the_grace_period_is_ended_with_it(tmp_path: Path) -> None:
    grace_s = 0.5
    with echo_servers("a") as servers:
        config = echo_config(servers[0].address, shutdown_grace_s=grace_s)
        with start_proxy(config, tmp_path) as proxy, EchoClient(proxy.listener("outbound")) as client:
            metadata = [("sleep-s", "60"), ("call-id", "long")]
            call = client.unary.future(b"", metadata=metadata, timeout=60)
            event_at(servers, "long", "start")
            begun_s = time.monotonic()
            proxy.signal(signal.SIGTERM)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            assert grace_s <= time.monotonic() - begun_s < TIMEOUT_S
            assert proxy.wait() == 0
            event_at(servers, "long", "cancelled")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_the_proxy_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with echo_servers("a") as servers:
        config = echo_config(servers[0].address, shutdown_grace_s=2 * TIMEOUT_S)
        with start_proxy(config, tmp_path) as proxy, EchoClient(proxy.listener("outbound")) as client:
            call = client.unary.future(b"", metadata=[("sleep-s", "60"), ("call-id", "1")], timeout=60)
            event_at(servers, "1", "start")
            proxy.signal(number)
            proxy.wait_until(lambda: not proxy.ready(), "not ready any more")
            proxy.signal(number)
            assert proxy.wait(TIMEOUT_S) == 0
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            assert server_of(call) == ""


def test_the_admin_port_can_stop_the_proxy(tmp_path: Path) -> None:
    with start_proxy(echo_config(free_address(), shutdown_grace_s=0.2), tmp_path) as proxy:
        assert proxy.get("/shutdown")[0] == 405
        assert proxy.get("/shutdown", "POST")[0] == 200
        assert proxy.wait() == 0
