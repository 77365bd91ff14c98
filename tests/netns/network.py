"""A node with its pods and services, made of network namespaces; nothing of it touches the machine's own network.

Every pod has a link to the node, which routes between them, as many Kubernetes networks do. So a connection to
a service passes the node, and there, as by kube-proxy, iptables sends it to one of the service's pods for as long
as it lives; the pod still sees the client's address. It goes around the pods instead of choosing at random, so
that a test can count.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netns.namespace import Namespace
from tests.netns.pod import Pod

# All of these exist in the network's own namespaces only, so every network may have the same.
POD_IPV4, POD_IPV6 = "10.201.0.{}", "fd00:201::{:x}"
SERVICE_IPV4, SERVICE_IPV6 = "10.96.0.{}", "fd00:96::{:x}"
GATEWAY_IPV4, GATEWAY_IPV6 = "10.201.255.254", "fd00:201::ffff"
POD_SYSCTLS = ("net.ipv4.ip_unprivileged_port_start=0",)  # as container runtimes have it
NODE_SYSCTLS = ("net.ipv4.ip_forward=1",)
NODE_SYSCTLS_IPV6 = ("net.ipv6.conf.all.forwarding=1",)
IPV6_SYSCTLS = ("net.ipv6.conf.default.accept_dad=0",)  # addresses usable at once


@dataclass(frozen=True, slots=True)
class Service:
    """Addresses of a service; a connection to `port` of either goes to one of its pods."""

    number: int
    ipv4: str
    ipv6: str
    port: int


class Network:
    """A node without pods at first. A context manager: leaving it stops all processes and removes all namespaces.

    Files of its pods go into `directory`. `ipv6` tells whether this kernel has it; without it, only IPv4 is set up.
    """

    def __init__(self, directory: Path) -> None:
        self.ipv6 = Path("/proc/net/if_inet6").exists()
        self._directory = directory
        self._open = ExitStack()
        self._pods = 0
        self._services = 0
        self.node = self._namespace("node", NODE_SYSCTLS + NODE_SYSCTLS_IPV6 * self.ipv6)

    def pod(self, name: str) -> Pod:
        """A new pod, without a sidecar and without interception."""
        self._pods += 1
        pod = Pod(
            name,
            POD_IPV4.format(self._pods),
            POD_IPV6.format(self._pods),
            self._namespace(name, POD_SYSCTLS),
            self._directory / name,
        )
        self._open.enter_context(pod.processes)
        pod.directory.mkdir()
        self._connect(pod, f"pod{self._pods}")
        return pod

    def service(self, port: int, pods: Sequence[Pod], target_port: int | None = None) -> Service:
        """A new service over `pods`, on `target_port` of each, or `port` as well."""
        self._services += 1
        service = Service(
            self._services, SERVICE_IPV4.format(self._services), SERVICE_IPV6.format(self._services), port
        )
        for restore, address in self._families(service):
            hook = f"-A PREROUTING -d {address} -p tcp --dport {port} -j {_chain(service)}"
            self._restore(restore, f":{_chain(service)} -", hook)
        self.set_pods(service, pods, target_port)
        return service

    def set_pods(self, service: Service, pods: Sequence[Pod], target_port: int | None = None) -> None:
        """Replaces the pods of a service; connections that are open stay where they are."""
        for restore, address in self._families(service):
            hosts = [f"[{pod.ipv6}]" if ":" in address else pod.ipv4 for pod in pods]
            rules = [
                f"-A {_chain(service)} -p tcp -m statistic --mode nth --every {len(hosts) - index} --packet 0 "
                f"-j DNAT --to-destination {host}:{target_port or service.port}"
                for index, host in enumerate(hosts)
            ]
            self._restore(restore, f":{_chain(service)} -", *rules)

    def _namespace(self, name: str, sysctls: Sequence[str]) -> Namespace:
        try:
            namespace = self._open.enter_context(Namespace(name))
            namespace.run(["sysctl", "--quiet", "--write", *sysctls, *IPV6_SYSCTLS * self.ipv6])
        except BaseException:
            self._open.close()
            raise
        return namespace

    def _connect(self, pod: Pod, link: str) -> None:
        """Links a pod to the node: a route to the pod there, and everything else over the node here."""
        self.node.ip(
            f"link add {link} type veth peer name eth0 netns {pod.namespace.name}",
            f"link set {link} up",
            f"address add {GATEWAY_IPV4}/32 dev {link}",
            *[f"address add {GATEWAY_IPV6}/128 dev {link} nodad"] * self.ipv6,
        )
        families = [(pod.ipv4, 32, GATEWAY_IPV4), (pod.ipv6, 128, GATEWAY_IPV6)][: 1 + self.ipv6]
        pod.namespace.ip(
            "link set eth0 up",
            # Usable from now on. Otherwise the kernel decides that a moment later, and on a busy machine a connection
            # may begin before, from loopback's or the link's own address: no answer finds the way back to those.
            *(f"address add {address}/{bits} dev eth0 {'nodad' * (':' in address)}" for address, bits, _ in families),
            *(f"route add {gateway} dev eth0" for _, _, gateway in families),
            *(f"route add default via {gateway} dev eth0" for _, _, gateway in families),
        )
        self.node.ip(*(f"route add {address} dev {link}" for address, _, _ in families))
        for (address, _, _), restore in zip(families, ("iptables-restore", "ip6tables-restore"), strict=False):
            # A pod that reaches itself through a service would drop packets that come in from its own address.
            self._restore(restore, f"-A POSTROUTING -s {address} -d {address} -j MASQUERADE")

    def _families(self, service: Service) -> list[tuple[str, str]]:
        return [("iptables-restore", service.ipv4), ("ip6tables-restore", service.ipv6)][: 1 + self.ipv6]

    def _restore(self, program: str, *lines: str) -> None:
        self.node.run([program, "--noflush"], text="\n".join(("*nat", *lines, "COMMIT", "")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def _chain(service: Service) -> str:
    return f"SERVICE_{service.number}"
