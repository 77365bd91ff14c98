"""Random histories through the whole path: API server, controller, endpoint stream, sidecar, calls.

The oracle is the API server's objects and the rules of semantics 12 applied to all of them at once. After each burst of
changes the sidecar must come to have just that, and its calls go nowhere else; a Service that does not change must lose
no call meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.test_controller import sidecar
from tests.support.controller import ControllerProcess
from tests.support.echo import EchoClient, EchoServer, Load, echo_servers, server_of
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.support.kubernetes_server import SERVICES, SLICES, KubernetesServer
from tests.support.ports import split_address
from tests.support.process import ProxyProcess

WITHIN_S = 60.0
BURSTS = 10
CHANGING = ("s1", "s2")
STATES = (
    {},
    {},
    {"ready": False, "serving": True, "terminating": True},
    {"ready": False, "serving": False, "terminating": True},
)


def authority(name: str) -> str:
    return f"{name}.emojivote:8080"


class History:
    """What happens to the objects of an API server."""

    def __init__(self, kubernetes: KubernetesServer, servers: Sequence[EchoServer], dice: random.Random) -> None:
        self._kubernetes = kubernetes
        self._servers = servers
        self._dice = dice

    def put_slice(self, name: str, server: EchoServer, **state: Any) -> None:
        host, port = split_address(server.address)
        pod = server.name.removeprefix("server ")
        one = endpoint(host, pod, uid=f"{pod}-{self._dice.randint(1, 2)}", **state)
        slice_ = endpoint_slice(f"{name}-{pod}", one, service=name, ports=[{"name": "grpc", "port": port}])
        self._kubernetes.put(slice_)

    def event(self) -> None:
        dice, kubernetes = self._dice, self._kubernetes
        name, server = dice.choice(CHANGING), dice.choice(self._servers)
        what = dice.random()
        if what < 0.2:
            kubernetes.put(service(name, ips=dice.choice([(), (f"10.96.0.{CHANGING.index(name) + 1}",)])))
        elif what < 0.3:
            self._delete(SERVICES, name)
        elif what < 0.75:
            self.put_slice(name, server, **dice.choice(STATES))
        elif what < 0.9:
            self._delete(SLICES, f"{name}-{server.name.removeprefix('server ')}")
        elif what < 0.94:
            kubernetes.end_watches(dice.choice([SERVICES, SLICES]))
        else:
            kubernetes.forget()
            kubernetes.end_watches(dice.choice([SERVICES, SLICES]))

    def _delete(self, kind: str, name: str) -> None:
        if (item := self._kubernetes.find(kind, name, "emojivote")) is not None:
            self._kubernetes.delete(item)

    def expected(self, name: str) -> set[str] | None:
        """Where calls of the Service go; None if there is no such Service."""
        if self._kubernetes.find(SERVICES, name, "emojivote") is None:
            return None
        ready, serving = set(), set()
        for each in self._kubernetes.all(SLICES):
            if each["metadata"]["labels"]["kubernetes.io/service-name"] == name:
                (one,), (port,) = each["endpoints"], each["ports"]
                place = f"{one['addresses'][0]}:{port['port']}"
                ready |= {place} if one["conditions"]["ready"] else set()
                serving |= {place} if one["conditions"]["serving"] else set()
        return ready or serving


def shown(proxy: ProxyProcess, name: str) -> set[str] | None:
    """The endpoints that the sidecar has for a name that it was just called by; None if it knows of no such Service."""
    cluster = proxy.endpoints().get(authority(name))
    return None if cluster is None else {e["address"] for e in cluster["endpoints"] if e["state"] != "draining"}


@pytest.mark.parametrize("seed", range(3))
def test_a_history(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    with (
        KubernetesServer() as kubernetes,
        echo_servers("a", "b", "c") as servers,
        ControllerProcess(kubernetes.kubeconfig(tmp_path), tmp_path) as controller,
    ):
        history = History(kubernetes, servers, dice)
        kubernetes.put(service("stable", ips=()))
        history.put_slice("stable", servers[0])
        controller.wait_until_serving()
        with sidecar(controller.endpoints, tmp_path) as proxy:
            with Load(proxy.listener("outbound"), threads=2, authority=authority("stable")) as load:
                for _ in range(BURSTS):
                    for _ in range(dice.randint(1, 8)):
                        history.event()
                    for name in CHANGING:
                        _agrees(proxy, history, name, servers)
                load.wait_for_answers(100)
            assert load.failures == []
            assert proxy.metric("meshctl_discovery_timeouts_total") == 0
        controller.kill()


def _agrees(proxy: ProxyProcess, history: History, name: str, servers: Sequence[EchoServer]) -> None:
    """The sidecar comes to have what the oracle says, and calls go there.

    What it has may agree before all of the burst has reached it, so a call may still go by what was in between: it has
    to come to rest, not to be right from the first moment.
    """
    expected = history.expected(name)
    places = {server.name.removeprefix("server "): server.address for server in servers}
    with EchoClient(proxy.listener("outbound"), ("grpc.default_authority", authority(name))) as client:

        def went_to() -> str:
            call = client.unary.future(b"x", timeout=0.3)
            return places[server_of(call)] if call.code() is grpc.StatusCode.OK else ""

        def agrees() -> bool:
            went_to()  # so that it is asked for
            places_of_calls = {went_to() for _ in range(10 if expected else 1)}
            return shown(proxy, name) == expected and places_of_calls <= (expected or {""})

        proxy.wait_until(agrees, f"has {expected} for {name}, and calls go there", WITHIN_S)
