"""What the configuration says of discovery on demand: who is asked where a call leads that no route takes.

Knows nothing of how it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from proxy.address import NamedAddress, named_address
from proxy.config_kubernetes import NAME, name
from proxy.schema import Problem, choice, items, key, number, record, text

CLUSTER_DOMAIN: Final = "cluster.local"


@record
class DiscoveryConfig:
    """Where what the application calls is looked up, by its authority and by the address that it dialled."""

    mode: str = key(choice("none", "controller", "direct"), default="none")
    controller: NamedAddress | None = key(named_address, default=None, render=str)
    pod: str | None = key(text(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "a pod's name"), default=None)
    namespace: str | None = key(name, default=None)
    namespaces: tuple[str, ...] = key(items(name), default=())
    cluster_domain: str = key(text(rf"{NAME}(\.{NAME})*", "a domain such as cluster.local"), default=CLUSTER_DOMAIN)
    wait_s: float = key(number(0, 60), default=1.0)
    idle_s: float = key(number(1, 86_400), default=600.0)

    def problems(self) -> Iterator[Problem]:
        if self.mode == "controller" and self.controller is None:
            yield "controller", "missing; mode controller needs it, like meshctl-controller.meshctl.svc:8086"
        if self.mode == "direct" and self.namespace is None and not self.namespaces:
            yield "namespace", "missing; mode direct needs to know which namespace to look into"
