"""A sidecar that watches an API server by itself: pods come and go, calls follow, and none fails."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.controller import pods
from tests.support.echo import EchoClient, EchoServer, Load, echo_servers
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.support.kubernetes_server import SLICES, KubernetesServer
from tests.support.memory import SANITIZER_BYTES, rss_bytes
from tests.support.process import ProxyProcess, start_proxy

WITHIN_S = 30.0
DIRECT_MODE_BYTES = 60 * 2**20  # measured: 45 MiB; with the client's models it would be 83


@pytest.fixture
def kubernetes() -> Iterator[KubernetesServer]:
    with KubernetesServer() as running:
        running.put(service(ports=[{"name": "grpc", "port": 8080}]))
        yield running


@contextlib.contextmanager
def sidecar(kubernetes: KubernetesServer, directory: Path) -> Iterator[ProxyProcess]:
    config = {
        "listeners": [{"name": "outbound"}],
        "kubernetes": {"kubeconfig": str(kubernetes.kubeconfig(directory))},
        "clusters": [{"name": "voting", "kubernetes": {"service": "voting", "namespace": "emojivote", "port": "grpc"}}],
        "routes": [{"cluster": "voting"}],
    }
    with start_proxy(config, directory) as proxy:
        yield proxy


def wait_for(proxy: ProxyProcess, *servers: EchoServer) -> None:
    wanted = {server.address for server in servers}

    def ready() -> bool:
        endpoints = proxy.endpoints()["voting"]["endpoints"]
        return {each["address"] for each in endpoints if each["state"] == "ready"} == wanted

    proxy.wait_until(ready, "the endpoints of the API server", WITHIN_S)


def test_pods_come_and_go_and_no_call_fails(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    with echo_servers("a", "b", "c") as (a, b, c):
        kubernetes.put(*pods(a, b))
        with sidecar(kubernetes, tmp_path) as proxy:
            wait_for(proxy, a, b)
            with Load(proxy.listener("outbound")) as load:
                load.wait_for_answers(50, "a")
                kubernetes.put(*pods(c))
                load.wait_for_answers(50, "c")
                kubernetes.put(*pods(a, ready=False, serving=True, terminating=True))
                wait_for(proxy, b, c)
                answered_by_a = load.answered_by["a"]
                kubernetes.delete(pods(a)[0])
                load.wait_for_answers(200)
                assert load.answered_by["a"] <= answered_by_a + 6, "more than the calls that were running"
                kubernetes.replace_quietly(SLICES, *pods(a, c))
                kubernetes.fail_watches(SLICES, 410)
                wait_for(proxy, a, c)
                load.wait_for_answers(50, "a")
            assert load.failures == []
            shown = {each["address"]: each["pod"] for each in proxy.endpoints()["voting"]["endpoints"]}
            assert (shown[a.address], shown[c.address]) == ("a", "c")


def test_without_the_api_server_the_last_endpoints_stay(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    with echo_servers("a", "b") as (a, b):
        kubernetes.put(*pods(a))
        with sidecar(kubernetes, tmp_path) as proxy:
            wait_for(proxy, a)
            kubernetes.stop()
            proxy.wait_until(lambda: "the Kubernetes API failed" in proxy.stderr(), "noticed")
            with EchoClient(proxy.listener("outbound")) as client:
                assert client.unary(b"still", timeout=WITHIN_S) == b"still"
            kubernetes.replace_quietly(SLICES, *pods(a, b))
            kubernetes.forget()
            kubernetes.start()
            wait_for(proxy, a, b)


def test_a_service_that_is_not_there_is_known_to_be_absent(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    kubernetes.delete(service())
    with sidecar(kubernetes, tmp_path) as proxy:  # it becomes ready
        assert proxy.endpoints()["voting"]["endpoints"] == []


def test_direct_mode_costs_little_memory(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    many = [endpoint(f"127.0.1.{number}", f"v-{number}", ready=False, serving=False) for number in range(200)]
    kubernetes.put(endpoint_slice("many", *many))
    with echo_servers("a") as (a,):
        kubernetes.put(*pods(a))
        with sidecar(kubernetes, tmp_path) as proxy:
            wait_for(proxy, a)
            held = rss_bytes(proxy.pid)
    print(f"\na sidecar in direct mode holds {held / 2**20:.1f} MiB")
    assert held < DIRECT_MODE_BYTES + SANITIZER_BYTES


NAME = "voting.emojivote:8080"


@contextlib.contextmanager
def on_demand(kubernetes: KubernetesServer, directory: Path) -> Iterator[ProxyProcess]:
    config = {
        "listeners": [{"name": "outbound"}],
        "kubernetes": {"kubeconfig": str(kubernetes.kubeconfig(directory))},
        "discovery": {"mode": "direct", "namespace": "emojivote", "wait_s": WITHIN_S},
    }
    with start_proxy(config, directory) as proxy:
        yield proxy


def test_what_is_called_is_looked_up_without_a_controller(kubernetes: KubernetesServer, tmp_path: Path) -> None:
    with echo_servers("a", "b") as (a, b):
        kubernetes.put(*pods(a))
        with on_demand(kubernetes, tmp_path) as proxy, Load(proxy.listener("outbound"), authority=NAME) as load:
            load.wait_for_answers(50, "a")
            kubernetes.put(*pods(b))
            load.wait_for_answers(50, "b")
            kubernetes.stop()
            load.wait_for_answers(100)
            assert proxy.metric("meshctl_discovery_names", state="known") == 1
        assert load.failures == []


@pytest.mark.parametrize("authority", ["voting.elsewhere:8080", "api.example:443"])
def test_another_namespace_or_the_world_is_not_ours(
    kubernetes: KubernetesServer, tmp_path: Path, authority: str
) -> None:
    with on_demand(kubernetes, tmp_path) as proxy:
        with EchoClient(proxy.listener("outbound"), ("grpc.default_authority", authority)) as client:
            assert client.unary.future(b"x", timeout=WITHIN_S).code() is grpc.StatusCode.UNAVAILABLE
        assert proxy.metric("meshctl_discovery_names", state="unknown") == 1
        assert proxy.metric("meshctl_discovery_timeouts_total") == 0
