"""What is kept of a Service and of an EndpointSlice, read from the API's JSON.

The rest of an object (labels, managed fields) is forgotten at once: it is most of its size. The API server has
checked what it sends, so reading is lenient: an item that makes no sense is left out, and only an object without a
name is refused (None). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.address import PortRange, ip_address

OPAQUE_PORTS: Final = "config.meshctl.io/opaque-ports"
SERVICE_NAME: Final = "kubernetes.io/service-name"

Key = tuple[str, str]
"""(namespace, name)."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service. `name` joins it to the slices' ports of that name; it is empty if there is only one."""

    name: str
    port: int
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service. `ips` are its cluster IPs, none if it is headless; `families` "IPv4" and "IPv6", the primary first."""

    key: Key
    ports: tuple[ServicePort, ...] = ()
    ips: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    headless: bool = False
    external: bool = False  # ExternalName: an alias in DNS, without endpoints
    opaque_ports: tuple[PortRange, ...] = ()


@dataclass(frozen=True, slots=True)
class SlicePort:
    """A port of the pods in one slice; `port` None is any."""

    name: str
    port: int | None
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """A pod (or anything else with an address) in a slice. `zones` are those that its hints name."""

    address: str
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    pod: str = ""
    uid: str = ""
    zone: str = ""
    zones: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Slice:
    """An EndpointSlice; `service` is the Service it belongs to."""

    key: Key
    service: Key
    family: str  # "IPv4" or "IPv6"
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


def read_service(item: Json) -> Service | None:
    """A Service of its JSON; None if it has no name."""
    key = _key(item)
    if key is None:
        return None
    spec = _mapping(item.get("spec"))
    headless = spec.get("clusterIP") == "None"
    given = _texts(spec.get("clusterIPs")) or _texts([spec.get("clusterIP")])
    annotations = _mapping(_mapping(item.get("metadata")).get("annotations"))
    return Service(
        key,
        tuple(
            ServicePort(_text(port.get("name")), number, _text(port.get("appProtocol")))
            for port in _tcp(spec.get("ports"))
            if (number := _port(port.get("port"))) is not None
        ),
        tuple(ip for text in given if (ip := ip_address(text))),
        _texts(spec.get("ipFamilies")),
        headless,
        spec.get("type") == "ExternalName",
        read_ports(_text(annotations.get(OPAQUE_PORTS))),
    )


def read_slice(item: Json) -> Slice | None:
    """An EndpointSlice of its JSON; None if it has no name, belongs to no Service or has other than IP addresses."""
    key, family = _key(item), item.get("addressType")
    service = _text(_mapping(_mapping(item.get("metadata")).get("labels")).get(SERVICE_NAME))
    if key is None or not service or family not in ("IPv4", "IPv6"):
        return None
    ports = [(port, port.get("port")) for port in _tcp(item.get("ports"))]
    return Slice(
        key,
        (key[0], service),
        family,
        tuple(
            SlicePort(_text(port.get("name")), _port(number), _text(port.get("appProtocol")))
            for port, number in ports
            if number is None or _port(number) is not None
        ),
        tuple(endpoint for each in _mappings(item.get("endpoints")) if (endpoint := _endpoint(each)) is not None),
    )


def read_ports(text: str) -> tuple[PortRange, ...]:
    """The ports of an annotation like "25, 9000-9100"; what is no port is left out."""
    found = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            low, high = int(first), int(last or first)
            if 1 <= low <= high <= 65_535:
                found.append(PortRange(low, high))
    return tuple(found)


def _endpoint(item: Json) -> SliceEndpoint | None:
    # Only the first address has a meaning: all that a slice lists for one endpoint are the same pod.
    addresses = item.get("addresses")
    first = addresses[0] if isinstance(addresses, list) and addresses else None
    address = ip_address(first) if isinstance(first, str) else None
    if address is None:
        return None
    conditions, target = _mapping(item.get("conditions")), _mapping(item.get("targetRef"))
    # The API's rules for what is not said: ready is then true, serving the same as ready, terminating false.
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    is_pod = target.get("kind") == "Pod"
    hints = _mappings(_mapping(item.get("hints")).get("forZones"))
    return SliceEndpoint(
        address,
        ready,
        serving if isinstance(serving, bool) else ready,
        conditions.get("terminating") is True,
        _text(target.get("name")) if is_pod else "",
        _text(target.get("uid")) if is_pod else "",
        _text(item.get("zone")),
        frozenset(name for hint in hints if (name := _text(hint.get("name")))),
    )


def _key(item: Json) -> Key | None:
    metadata = _mapping(item.get("metadata"))
    namespace, name = _text(metadata.get("namespace")), _text(metadata.get("name"))
    return (namespace, name) if namespace and name else None


def _tcp(items: object) -> Iterator[Json]:
    return (port for port in _mappings(items) if port.get("protocol") in (None, "TCP"))


def _port(value: object) -> int | None:
    is_port = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65_535
    return value if is_port and isinstance(value, int) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
