"""gRPC between pods, with grpcio's own client and servers: calls are balanced one by one, whatever was dialled."""

import json
import sys
from typing import Any

import pytest

from tests.netns.mesh import Mesh
from tests.netns.network import Service
from tests.support.waiting import wait_until

PORT = 50051
HEADLESS = "echo.default.svc.cluster.local:50051"
CALLS = 60
KINDS = {
    "collect": "3 11",
    "expand": [1000, 1000, 1000],
    "chat": ["one", "two", "three", "end"],
}


@pytest.fixture(scope="module")
def echo(mesh: Mesh) -> Service:
    """The echo service, on the loopback of each server pod; its name is known to the client's sidecar."""
    for pod in mesh.pods:
        for host in ["127.0.0.1"] + ["[::1]"] * mesh.network.ipv6:
            pod.start_python("tests.support.echo_server", f"{host}:{PORT}", pod.name)
    for pod in mesh.pods:
        pod.wait_for_port(PORT)
    service = mesh.service(PORT)
    mesh.name_service(service, HEADLESS)
    return service


def warm_up(mesh: Mesh, target: str, authority: str = "") -> None:
    """Returns when the sidecar is connected to all pods: only then they take turns."""
    few = 6
    wait_until(lambda: len(call(mesh, target, authority, few)["servers"]) == len(mesh.pods), "calls at each pod", 60)


def call(mesh: Mesh, target: str, authority: str = "", calls: int = CALLS) -> Any:
    command = (sys.executable, "-m", "tests.netns.grpc_client", target, str(calls), authority)
    return json.loads(mesh.client.pod.run(*command))


def assert_even(answer: Any) -> None:
    servers = answer["servers"]
    assert set(servers) == {"one", "two", "three"}
    assert sum(servers.values()) == CALLS
    assert max(servers.values()) - min(servers.values()) <= 3
    assert answer["kinds"] == KINDS


def test_the_calls_of_one_channel_to_a_service_are_spread_over_its_pods(mesh: Mesh, echo: Service, family: int) -> None:
    host = f"[{echo.ipv6}]" if family == 6 else echo.ipv4
    warm_up(mesh, f"{host}:{PORT}")
    answer = call(mesh, f"{host}:{PORT}")
    assert_even(answer)


def test_without_sidecars_they_would_not_be(mesh: Mesh, echo: Service) -> None:
    """What the test above shows is the sidecar's doing, not the network's."""
    plain = mesh.network.pod("plain")
    command = (sys.executable, "-m", "tests.netns.grpc_client", f"{echo.ipv4}:{PORT}", str(CALLS))
    assert len(json.loads(plain.run(*command))["servers"]) == 1


def test_a_dialled_pod_is_balanced_when_the_calls_name_the_service(mesh: Mesh, echo: Service) -> None:
    warm_up(mesh, f"{mesh.pods[0].ipv4}:{PORT}", HEADLESS)
    before = mesh.per_pod(echo)
    answer = call(mesh, f"{mesh.pods[0].ipv4}:{PORT}", HEADLESS)
    assert_even(answer)
    after = mesh.per_pod(echo)
    assert sum(after.values()) - sum(before.values()) == CALLS + len(KINDS)


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("authority", ["", "other.default.svc.cluster.local:50051"])
def test_a_dialled_pod_gets_the_calls_that_name_no_known_service(mesh: Mesh, authority: str) -> None:
    two = mesh.pods[1]
    answer = call(mesh, f"{two.ipv4}:{PORT}", authority)
    assert answer == {"servers": {two.name: CALLS}, "kinds": KINDS}


def test_both_sidecars_count_the_calls_as_grpc(mesh: Mesh, echo: Service) -> None:
    def passed(server: int) -> float:
        sidecar = mesh.servers[server].sidecar
        return sidecar.metric("meshctl_response_total", cluster="inbound", grpc_status="0")

    before = sum(map(passed, range(3)))
    sent = mesh.client.sidecar.metric("meshctl_response_total", cluster=f"service-{echo.number}", grpc_status="0")
    call(mesh, f"{echo.ipv4}:{PORT}", calls=20)
    assert sum(map(passed, range(3))) - before == 20 + len(KINDS)
    now = mesh.client.sidecar.metric("meshctl_response_total", cluster=f"service-{echo.number}", grpc_status="0")
    assert now - sent == 20 + len(KINDS)
