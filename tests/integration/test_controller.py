"""A sidecar that asks a controller: the real one, which follows a scripted API server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.controller import ControllerProcess, pods
from tests.support.echo import EchoClient, EchoServer, Load, echo_servers, server_of
from tests.support.kubernetes_objects import service
from tests.support.kubernetes_server import SLICES, KubernetesServer
from tests.support.memory import SANITIZER_BYTES, rss_bytes
from tests.support.process import ProxyProcess, start_proxy

WITHIN_S = 30.0
NAME = "voting.emojivote:8080"
CONTROLLER_MODE_BYTES = 40_000_000  # measured: 36


@pytest.fixture
def kubernetes() -> Iterator[KubernetesServer]:
    with KubernetesServer() as running:
        running.put(service(ports=[{"name": "grpc", "port": 8080}]))
        yield running


@pytest.fixture
def controller(kubernetes: KubernetesServer, tmp_path: Path) -> Iterator[ControllerProcess]:
    with ControllerProcess(kubernetes.kubeconfig(tmp_path), tmp_path) as running:
        running.wait_until_serving()
        yield running
        running.kill()  # told to stop, it would serve for some seconds more


@contextlib.contextmanager
def sidecar(controller: str, directory: Path, **discovery: Any) -> Iterator[ProxyProcess]:
    """It waits for an answer for as long as one may take on a slow machine, unless `discovery` says otherwise."""
    known = {"mode": "controller", "controller": controller, "namespace": "emojivote", "pod": "web-1"}
    asked = {**known, "wait_s": WITHIN_S, **discovery}
    with start_proxy({"listeners": [{"name": "outbound"}], "discovery": asked}, directory) as proxy:
        yield proxy


def client_of(proxy: ProxyProcess, authority: str = NAME) -> EchoClient:
    return EchoClient(proxy.listener("outbound"), ("grpc.default_authority", authority))


def wait_for(proxy: ProxyProcess, *servers: EchoServer, name: str = NAME) -> None:
    wanted = {server.address for server in servers}

    def ready() -> bool:
        endpoints = proxy.endpoints().get(name, {}).get("endpoints", [])
        return {each["address"] for each in endpoints if each["state"] == "ready"} == wanted

    proxy.wait_until(ready, "has the endpoints", WITHIN_S)


def test_pods_come_and_go_and_no_call_fails(
    kubernetes: KubernetesServer, controller: ControllerProcess, tmp_path: Path
) -> None:
    with echo_servers("a", "b", "c") as (a, b, c), sidecar(controller.endpoints, tmp_path) as proxy:
        kubernetes.put(*pods(a, b))
        with Load(proxy.listener("outbound"), authority=NAME) as load:
            load.wait_for_answers(50, "a")
            load.wait_for_answers(50, "b")
            kubernetes.put(*pods(c))
            load.wait_for_answers(50, "c")
            kubernetes.put(*pods(a, ready=False, serving=True, terminating=True))
            wait_for(proxy, b, c)
            load.wait_for_answers(100)
        assert load.failures == []
        shown = {each["address"]: each["pod"] for each in proxy.endpoints()[NAME]["endpoints"]}
        assert shown == {b.address: "b", c.address: "c"}


@pytest.mark.parametrize(
    "authority",
    ["voting:8080", "VOTING.emojivote:8080", "voting.emojivote.svc:8080", "voting.emojivote.svc.cluster.local:8080"],
)
def test_a_service_by_any_of_its_names(
    kubernetes: KubernetesServer, controller: ControllerProcess, tmp_path: Path, authority: str
) -> None:
    with echo_servers("a") as (a,), sidecar(controller.endpoints, tmp_path) as proxy:
        kubernetes.put(*pods(a))
        with client_of(proxy, authority) as client:
            assert client.unary(b"x", timeout=WITHIN_S) == b"x"


def test_a_name_that_is_nobodys(controller: ControllerProcess, tmp_path: Path) -> None:
    with sidecar(controller.endpoints, tmp_path) as proxy, client_of(proxy, "api.example:443") as client:
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                client.unary(b"x", timeout=WITHIN_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert proxy.metric("meshctl_discovery_names", state="unknown") == 1
        assert proxy.metric("meshctl_discovery_timeouts_total") == 0
        assert proxy.metric("meshctl_discovery_connected") == 1


def test_without_a_controller_the_endpoints_stay_and_another_one_takes_over(
    kubernetes: KubernetesServer, controller: ControllerProcess, tmp_path: Path
) -> None:
    with echo_servers("a", "b", "c") as (a, b, c), sidecar(controller.endpoints, tmp_path) as proxy:
        kubernetes.put(*pods(a, b))
        with Load(proxy.listener("outbound"), authority=NAME) as load:
            wait_for(proxy, a, b)
            load.wait_for_answers(50)
            controller.kill()
            proxy.wait_until(lambda: proxy.metric("meshctl_discovery_connected") == 0, "noticed", WITHIN_S)
            load.wait_for_answers(100)
            wait_for(proxy, a, b)
            kubernetes.replace_quietly(SLICES, *pods(b, c))
            with ControllerProcess(kubernetes.kubeconfig(tmp_path), tmp_path, controller.endpoints) as another:
                another.wait_until_serving()
                proxy.wait_until(lambda: proxy.metric("meshctl_discovery_connected") == 1, "came back", WITHIN_S)
                wait_for(proxy, b, c)
                load.wait_for_answers(50, "c")
                assert proxy.stderr().count("endpoints stay as they are") == 1, "told once, however often it tried"
                another.kill()
        assert load.failures == []


def test_a_controller_that_stops_sends_its_sidecars_away_at_once(
    kubernetes: KubernetesServer, controller: ControllerProcess, tmp_path: Path
) -> None:
    with echo_servers("a") as (a,), sidecar(controller.endpoints, tmp_path) as proxy:
        kubernetes.put(*pods(a))
        with client_of(proxy) as client:
            assert client.unary(b"x", timeout=WITHIN_S) == b"x"
            controller.stop()
            proxy.wait_until(lambda: proxy.metric("meshctl_discovery_connected") == 0, "noticed", WITHIN_S)
            assert client.unary(b"x", timeout=WITHIN_S) == b"x"


def test_names_that_nobody_calls_are_no_longer_asked_for(
    kubernetes: KubernetesServer, controller: ControllerProcess, tmp_path: Path
) -> None:
    with echo_servers("a") as (a,), sidecar(controller.endpoints, tmp_path, idle_s=1) as proxy:
        kubernetes.put(*pods(a))
        with client_of(proxy) as client:
            assert client.unary(b"x", timeout=WITHIN_S) == b"x"
            proxy.wait_until(lambda: NAME not in proxy.endpoints(), "forgot the name", WITHIN_S)
            assert client.unary(b"x", timeout=WITHIN_S) == b"x", "asked for again"


def test_a_controller_that_is_not_there_holds_up_the_first_call_alone(tmp_path: Path) -> None:
    nowhere = "127.0.0.1:9"
    with sidecar(nowhere, tmp_path, wait_s=0.3) as proxy, client_of(proxy) as client:
        with pytest.raises(grpc.RpcError) as caught:
            client.unary(b"x", timeout=WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert proxy.metric("meshctl_discovery_timeouts_total") == 1


def test_controller_mode_costs_little_memory(
    kubernetes: KubernetesServer, controller: ControllerProcess, tmp_path: Path
) -> None:
    with echo_servers("a") as (a,), sidecar(controller.endpoints, tmp_path) as proxy:
        kubernetes.put(*pods(a))
        with client_of(proxy) as client:
            for _ in range(100):
                call = client.unary.future(b"x", timeout=WITHIN_S)
                assert call.result() == b"x" and server_of(call) == "a"
            held = rss_bytes(proxy.pid)
    print(f"\na sidecar in controller mode holds {held / 2**20:.1f} MiB")
    assert held < CONTROLLER_MODE_BYTES + SANITIZER_BYTES
