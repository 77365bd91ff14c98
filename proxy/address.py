"""Socket addresses, ports, DNS names and names of entries as the configuration writes them.

Only their form is checked: nothing is resolved, opened or bound. An address is always an IP address, so that
reading a configuration never waits for DNS; host names have their own key.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any, Final

from proxy.schema import INVALID, Check, Errors, described, text

_ADDRESS: Final = re.compile(r"(?:\[([^\[\]]*:[^\[\]]*)\]|([^:\[\]]*)):([0-9]{1,5})").fullmatch
_PORTS: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})").fullmatch
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME: Final = rf"(?=.{{1,254}}\Z){_LABEL}(\.{_LABEL})*\.?"
_DNS_NAME: Final = re.compile(_NAME).fullmatch


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An IP address and a port; text form "127.0.0.1:4140" or "[::1]:4140"."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NamedAddress:
    """A host, by name or IP address, and a port; text form "voting.shop:8080" or "[::1]:8080"."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def plain(self) -> int | str:
        """As the configuration writes it: 25, or "9000-9100"."""
        return self.first if self.first == self.last else f"{self.first}-{self.last}"


entry_name: Final = text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "a name of at most 100 letters, digits, '-', '_' and '.'")
"""A check: what a listener or a cluster may be called."""


def ip_address(host: str) -> str | None:
    """`host` in its shortest form if it is an IPv4 or IPv6 address, else None."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, host))
        except (OSError, ValueError):
            continue
    return None


def address(*, lowest_port: int = 1, default_port: int | None = None, hint: str = "") -> Check:
    """A check: text "ip:port" that becomes a `SocketAddress`; without a default the port must be there."""
    example = "127.0.0.1:4140 or [::1]:4140" if default_port is None else "10.96.0.10 or 10.96.0.10:53"
    meaning = f"an IP address and a port from {lowest_port} to 65535 in quotes, like {example}"

    def check(value: object, path: str, errors: Errors) -> Any:
        if isinstance(value, str):
            if default_port is not None and (bare := ip_address(value)):
                return SocketAddress(bare, default_port)
            found = _ADDRESS(value)
            host = ip_address(found[1] or found[2]) if found else None
            if found and host and lowest_port <= int(found[3]) <= 65535:
                return SocketAddress(host, int(found[3]))
        errors.add(path, f"must be {meaning}, not {described(value)}{hint}")
        return INVALID

    return check


def named_address(value: object, path: str, errors: Errors) -> Any:
    """A check: text "host:port", with a DNS name or an IP address; becomes a `NamedAddress`."""
    found = _ADDRESS(value) if isinstance(value, str) else None
    if found and 1 <= int(found[3]) <= 65_535:
        host = found[1] or found[2]
        if ip := ip_address(host):
            return NamedAddress(ip, int(found[3]))
        if found[2] and _DNS_NAME(host):
            return NamedAddress(host, int(found[3]))
    errors.add(path, f"must be a host and a port, like controller.meshctl.svc:8086, not {described(value)}")
    return INVALID


def port_range(value: object, path: str, errors: Errors) -> Any:
    """A check: a port or a range of ports; becomes a `PortRange`."""
    ports = None
    if isinstance(value, str) and (found := _PORTS(value)):
        ports = PortRange(int(found[1]), int(found[2]))
    elif isinstance(value, int) and not isinstance(value, bool):
        ports = PortRange(value, value)
    if ports and 1 <= ports.first <= ports.last <= 65_535:
        return ports
    errors.add(path, f"must be a port from 1 to 65535 or a range like 9000-9100, not {described(value)}")
    return INVALID


def dns_name(value: object, path: str, errors: Errors) -> Any:
    """A check: a DNS name of at most 253 characters in labels of at most 63 (RFC 1035, section 2.3.4)."""
    if isinstance(value, str) and ip_address(value):
        errors.add(path, f"is the IP address {value}; list it under `static` instead of `dns`")
        return INVALID
    return text(_NAME, "a full DNS name like voting.emojivote.svc.cluster.local")(value, path, errors)
