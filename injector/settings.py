"""What an injected sidecar is like unless a namespace or a pod asks for something else, and the names it uses in a pod.

Plain data. What may be written in annotations is `injector.annotations`', what becomes of it `injector.containers`'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from injector.iptables import Interception, PortRange

PORTS: Final = Interception()
"""The sidecar's ports and its user."""

SIDECAR: Final = "meshctl-proxy"
INIT: Final = "meshctl-init"
VOLUME: Final = "meshctl-run"

CONTROLLER: Final = "meshctl-controller.meshctl.svc:8086"
"""The endpoint service as it is installed by default."""

INJECT: Final = "meshctl.io/inject"
INJECTED: Final = "meshctl.io/injected"
CREATED: Final = "meshctl.io/created"
PROBES: Final = "meshctl.io/probes"
CONFIG_PREFIX: Final = "config.meshctl.io/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Quantities are Kubernetes' ("50m", "64Mi"); None is no limit, or for `opaque_ports` the proxy's own list."""

    image: str
    native_sidecar: bool = True
    skip_inbound_ports: tuple[PortRange, ...] = ()
    skip_outbound_ports: tuple[PortRange, ...] = ()
    opaque_ports: tuple[PortRange, ...] | None = None
    cpu_request: str = "10m"
    cpu_limit: str | None = None
    memory_request: str = "48Mi"
    memory_limit: str | None = "256Mi"
    log_level: str = "info"
    access_log: bool = False
    shutdown_grace_s: int = 30
    discovery: str = "controller"
    controller_address: str = CONTROLLER


def listed(ports: tuple[PortRange, ...]) -> str:
    """Ports as annotations, options and variables write them: "8080,9000-9010"."""
    return ",".join(str(each.first) if each.first == each.last else f"{each.first}-{each.last}" for each in ports)
