"""The configuration's listeners: where connections come in, and how they are looked at (semantics: 10).

Part of `proxy.config`, which is where to import from. Must not know how sockets are opened or bytes detected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from proxy.address import PortRange, SocketAddress, address, entry_name, port_range
from proxy.schema import INVALID, Problem, choice, items, key, record, repeated

SERVER_SPEAKS_FIRST: Final = (25, 587, 3306, 4444, 5432, 6379, 9300, 11211)
"""Ports on which a client waits for the server's greeting, or which are known to carry neither HTTP nor TLS."""


def _protocol(given: dict[str, Any]) -> str:
    return "http2" if given.get("intercept") is None else "detect"


def _opaque_ports(given: dict[str, Any]) -> tuple[PortRange, ...]:
    looks = given.get("intercept") is not None and given["protocol"] == "detect"
    return tuple(PortRange(port, port) for port in SERVER_SPEAKS_FIRST) if looks else ()


@record
class ListenerConfig:
    """A socket that accepts downstream connections; port 0 lets the system choose one.

    With `intercept` its connections were redirected by the kernel, and each has an original destination. What
    `protocol` and `opaque_ports` are by default depends on that; here they are filled in.
    """

    name: str = key(entry_name)
    address: SocketAddress = key(address(lowest_port=0), render=str)
    intercept: str | None = key(choice("outbound", "inbound"), default=None)
    protocol: str = key(choice("http2", "http1", "tcp", "detect"), derive=_protocol)
    opaque_ports: tuple[PortRange, ...] = key(
        items(port_range),
        derive=_opaque_ports,
        render=lambda ports: [item.plain() for item in ports],
    )

    def is_opaque(self, port: int) -> bool:
        """Whether a connection to this original destination port is TCP from the start."""
        return any(port in ports for ports in self.opaque_ports)

    def problems(self) -> Iterator[Problem]:
        if self.opaque_ports in ((), INVALID):
            return
        if self.intercept is None:
            yield "opaque_ports", "needs `intercept`; without it there is no original destination to have a port"
        elif self.protocol not in ("detect", INVALID):
            yield "opaque_ports", f"has no use with protocol {self.protocol}; only `detect` looks at connections"


def listener_problems(listeners: tuple[ListenerConfig, ...], admin: SocketAddress) -> Iterator[Problem]:
    """What is wrong between listeners: each has its own name and address, none has the admin server's."""
    for index, first, name in repeated(listeners, "name"):
        yield (
            f"listeners[{index}].name",
            f"{name!r} is the name of listeners[{first}] already; choose another",
        )
    for index, first, place in repeated(listeners, "address"):
        if place.port:
            yield (
                f"listeners[{index}].address",
                f"{place} is listeners[{first}] already; choose another port",
            )
    for index, listener in enumerate(listeners):
        if listener.address is not INVALID and listener.address == admin:
            yield (
                f"listeners[{index}].address",
                f"{listener.address} is the admin address; choose another port",
            )
