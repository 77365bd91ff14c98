"""Checks of Services: whether what they say of their ports' protocols can be true. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshctl.check.facts import OUTSIDE, Facts, Json, annotations_of, key_of, part
from meshctl.check.finding import Check, Problem, known
from proxy.discovery.kubernetes.records import OPAQUE_PORTS, read_ports

KNOWN: Final = {"grpc": "HTTP/2", "kubernetes.io/h2c": "HTTP/2", "http": "HTTP/1.x", "tcp": "TCP"}
"""What the proxy understands as `appProtocol`."""

NAMED: Final = {
    "grpc": ("grpc", "kubernetes.io/h2c"),
    "h2c": ("grpc", "kubernetes.io/h2c"),
    "http2": ("grpc", "kubernetes.io/h2c"),
    "http": ("http", "grpc", "kubernetes.io/h2c"),
    "tcp": ("tcp",),
}
"""By the first word of a port's name: the values of `appProtocol` that agree with it."""


def _ports(facts: Facts) -> Iterator[Problem]:
    for service in known(facts.services):
        namespace, name = key_of(service)
        if namespace in OUTSIDE:
            continue
        opaque = read_ports(str(annotations_of(service).get(OPAQUE_PORTS) or ""))
        for port in part(service, "spec").get("ports") or ():
            contradiction = _contradiction(port, is_opaque=any(port.get("port") in each for each in opaque))
            if contradiction:
                what, hint = contradiction
                yield Problem(
                    f"port {port.get('port')} of service {namespace}/{name} {what}",
                    f"{hint}: kubectl edit service -n {namespace} {name}",
                    warning=True,
                )


def _contradiction(port: Json, *, is_opaque: bool) -> tuple[str, str] | None:
    """What is wrong with what a port says, and what to do; None if nothing is."""
    said = str(port.get("appProtocol") or "")
    word = str(port.get("name") or "").partition("-")[0]
    if port.get("protocol", "TCP") != "TCP":
        return None
    if is_opaque and KNOWN.get(said, "TCP") != "TCP":
        return (
            f"has appProtocol {said} and is opaque by its annotation: its calls are balanced by connection",
            f"take it out of {OPAQUE_PORTS}, or set appProtocol to tcp",
        )
    if said and word in NAMED and said not in NAMED[word] and said in KNOWN:
        return (
            f"is called {port['name']} and has appProtocol {said}: it is taken for {KNOWN[said]}",
            "have them say the same",
        )
    if said.casefold() in KNOWN and said not in KNOWN:
        return f"has appProtocol {said}, which is not known: it is detected", f"write {said.casefold()}"
    return None


SERVICES: Final = (Check("service-protocols", "what services say of their ports agrees", _ports, ("api-reachable",)),)
