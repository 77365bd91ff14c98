"""Which Service or address an authority names.

The forms of a Service's name in the cluster's DNS: `voting`, `voting.ns`, `voting.ns.svc` and
`voting.ns.svc.cluster.local`, each with a port or without. A dot at the end makes a name absolute (RFC 1034,
section 3.1), which only the full one can be. The shortest needs the namespace of the pod that asks. Names of single
pods (`web-0.web.ns.svc...`) are no Service's. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proxy.address import SocketAddress, ip_address
from proxy.discovery.kubernetes.records import Key

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?").fullmatch

DOMAIN: Final = "cluster.local"
DEFAULT_PORT: Final = 80  # of an authority that names none (RFC 9110, section 4.2.1)


@dataclass(frozen=True, slots=True)
class ServiceName:
    """A Service by its name, and one of its ports: the number or the name of a port in its specification."""

    key: Key
    port: int | str


Name = ServiceName | SocketAddress


def parse_authority(text: str, namespace: str = "", domain: str = DOMAIN) -> Name | None:
    """What "host:port" names for a pod in `namespace`; None if neither a Service nor an IP address.

    The port may be left out, and is 80 then.
    """
    if bare := ip_address(_unbracketed(text)):
        return SocketAddress(bare, DEFAULT_PORT)
    host, colon, digits = text.rpartition(":")
    if not colon:
        host, digits = text, str(DEFAULT_PORT)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 5 and 1 <= int(digits) <= 65_535):
        return None
    port = int(digits)
    if address := ip_address(_unbracketed(host)):
        return SocketAddress(address, port)
    key = _service(host.lower(), namespace, domain.lower().strip("."))
    return ServiceName(key, port) if key is not None else None


def _unbracketed(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _service(host: str, namespace: str, domain: str) -> Key | None:
    absolute = host.endswith(".")
    host = host.removesuffix(".")
    full = host.endswith(f".svc.{domain}")
    if absolute and not full:
        return None
    labels = host.removesuffix(f".{domain}").split(".") if full else host.split(".")
    if not all(map(_LABEL, labels)):
        return None
    match labels:
        case [name] if namespace:
            return namespace, name
        case [name, of] if not full:
            return of, name
        case [name, of, "svc"]:
            return of, name
        case _:
            return None
