"""Pods behind real interception: every connection in and out of them passes a sidecar, as injection would have it.

A `Mesh` is one client pod and three server pods, all with a sidecar, and the services a test has made so far. As the
controller would, `service` tells the client's sidecar about a new one: its addresses, and the pods behind them. What
runs in the pods knows nothing of all this.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.netns.network import Network, Service
from tests.netns.pod import Pod
from tests.support.process import ProxyProcess

LISTENERS = (
    {"name": "outbound", "address": "127.0.0.1:4140", "intercept": "outbound"},
    {"name": "inbound", "address": "0.0.0.0:4143", "intercept": "inbound"},
)
LISTENERS_IPV6 = (
    {"name": "outbound-ipv6", "address": "[::1]:4140", "intercept": "outbound"},
    {"name": "inbound-ipv6", "address": "[::]:4143", "intercept": "inbound"},
)


@dataclass
class MeshedPod:
    """A pod with its sidecar, and what that is configured with; `configure` has it changed."""

    pod: Pod
    sidecar: ProxyProcess
    config: dict[str, Any]

    def configure(self) -> None:
        """Has the sidecar read `config` again; returns when it is in force."""
        before = self.sidecar.metric("meshctl_config_reloads_total")
        self.sidecar.configure(self.config)
        self.sidecar.signal(signal.SIGHUP)
        reloaded = "meshctl_config_reloads_total"
        self.sidecar.wait_until(lambda: self.sidecar.metric(reloaded) > before, "the new configuration")
        assert self.sidecar.metric(reloaded, result="failure") == 0

    def set_endpoints(self, cluster: str, addresses: Sequence[str]) -> None:
        """Replaces the endpoints of a cluster, as after an EndpointSlice has changed."""
        found = next(each for each in self.config["clusters"] if each["name"] == cluster)
        found["static"] = {"endpoints": [{"address": address} for address in addresses]}
        self.configure()


def meshed(network: Network, name: str, **config: Any) -> MeshedPod:
    """A new pod with a sidecar, and interception."""
    pod = network.pod(name)
    listeners = [dict(each) for each in LISTENERS + LISTENERS_IPV6 * network.ipv6]
    whole = {"listeners": listeners, **config}
    pod.intercept()
    return MeshedPod(pod, pod.sidecar(whole), whole)


@dataclass
class Mesh:
    """One client pod and three server pods."""

    network: Network
    client: MeshedPod = field(init=False)
    servers: list[MeshedPod] = field(init=False)

    def __post_init__(self) -> None:
        self.client = meshed(self.network, "client")
        self.servers = [meshed(self.network, name) for name in ("one", "two", "three")]

    @property
    def pods(self) -> list[Pod]:
        return [server.pod for server in self.servers]

    def service(
        self,
        port: int,
        pods: Sequence[Pod] | None = None,
        target_port: int | None = None,
        balancer: str = "round_robin",
    ) -> Service:
        """A new service over `pods` (all servers unless given), which the client's sidecar knows as one.

        Pods take turns unless another `balancer` is asked for, so that a test can count.
        """
        targets = list(self.pods if pods is None else pods)
        service = self.network.service(port, targets, target_port)
        config = self.client.config
        families = [("", service.ipv4, [pod.ipv4 for pod in targets])]
        if self.network.ipv6:
            families.append(("-ipv6", f"[{service.ipv6}]", [f"[{pod.ipv6}]" for pod in targets]))
        for suffix, address, hosts in families:
            name = cluster_of(service) + suffix
            endpoints = [
                {"address": f"{host}:{target_port or port}", "pod": pod.name}
                for host, pod in zip(hosts, targets, strict=True)
            ]
            config.setdefault("clusters", []).append(
                {"name": name, "protocol": "detect", "balancer": balancer, "static": {"endpoints": endpoints}}
            )
            match = {"destination": f"{address}:{port}"}
            config.setdefault("routes", []).append({"match": match, "cluster": name})
        self.client.configure()
        return service

    def name_service(self, service: Service, authority: str) -> None:
        """Has the client's sidecar know the service by a name too, as a headless one is."""
        match = {"authority": authority}
        self.client.config["routes"].append({"match": match, "cluster": cluster_of(service)})
        self.client.configure()

    def per_pod(self, service: Service, name: str = "meshctl_request_total") -> dict[str, float]:
        """A metric of the client's sidecar, by pod of a service."""
        cluster = cluster_of(service)
        return {pod.name: self.client.sidecar.metric(name, cluster=cluster, pod=pod.name) for pod in self.pods}


def cluster_of(service: Service) -> str:
    """The name of a service's cluster."""
    return f"service-{service.number}"
