"""Addresses and links of the node's pods. Every pod has a link to the node, which routes between them.

Used from within the node's namespace: what belongs to the node is done here, what belongs to a pod in its namespace.
Blocking; it takes some milliseconds.
"""

import itertools
from dataclasses import dataclass

from tests.netns.namespace import Namespace, run_here

NODE_IP = "10.201.255.254"
POD_SYSCTLS = ("net.ipv4.ip_unprivileged_port_start=0",)  # as container runtimes have it
PODS_OF_A_BLOCK = 250

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A pod's network namespace, and its address."""

    namespace: Namespace
    ip: str

    def close(self) -> None:
        """Ends what still runs in it; its link goes with it."""
        self.namespace.close()


def node_namespace() -> Namespace:
    """A namespace for a node, with the address that its pods and its API server know it by."""
    node = Namespace("node")
    try:
        node.ip(f"address add {NODE_IP}/32 dev lo")
        node.run(["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"])
    except BaseException:
        node.close()
        raise
    return node


def pod_network(name: str) -> PodNetwork:
    """A new pod, linked to the node. No address is given twice."""
    number = next(_numbers)
    block, host = divmod(number, PODS_OF_A_BLOCK)
    ip, link = f"10.201.{block}.{host + 1}", f"pod{number}"
    namespace = Namespace(name)
    try:
        namespace.run(["sysctl", "--quiet", "--write", *POD_SYSCTLS])
        _batch(
            f"link add {link} type veth peer name eth0 netns {namespace.name}",
            f"link set {link} up",
            f"route add {ip} dev {link}",
        )
        namespace.ip(
            "link set eth0 up",
            f"address add {ip}/32 dev eth0",
            f"route add {NODE_IP} dev eth0",
            f"route add default via {NODE_IP} dev eth0 src {ip}",
        )
    except BaseException:
        namespace.close()
        raise
    return PodNetwork(namespace, ip)


def _batch(*commands: str) -> None:
    run_here(["ip", "-batch", "-"], text="".join(f"{command}\n" for command in commands))
