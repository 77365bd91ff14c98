"""The slices of a Service as one set of endpoints for one of its ports.

A pod may be in two slices while it moves between them, in one slice of each address family, and with different
ports if its Service's target port changes. Out of this come endpoints, each once:

1. the same address and port twice: the one in the better state counts (ready, then serving)
2. ready ones; if none is ready, those that serve while they terminate
3. of a pod with an address in both families, the one in the Service's primary family
4. zone hints as kube-proxy reads them: only if every ready endpoint has hints and one at least is for the zone asked
   for, those with a hint for it; else all

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.discovery import EndpointAddress
from proxy.discovery.kubernetes.records import Service, ServicePort, Slice, SliceEndpoint, SlicePort


@dataclass(frozen=True, slots=True)
class Member:
    """One pod's port, as a slice has it."""

    endpoint: SliceEndpoint
    port: int
    family: str

    @property
    def rank(self) -> tuple[bool, bool, str, list[str]]:
        """The greater, the better its state; the rest makes the order total, whichever slice comes first."""
        each = self.endpoint
        return each.ready, each.serving, each.uid, sorted(each.zones)

    @property
    def address(self) -> EndpointAddress:
        each = self.endpoint
        return EndpointAddress(each.address, self.port, pod=each.pod, uid=each.uid)


def service_port(service: Service, port: int | str) -> ServicePort | None:
    """The port that a number or a name means; None if the Service has no such port.

    A headless Service is not in between: who calls it calls its pods' ports. So a number that it does not declare
    is taken for that of the pods.
    """
    for each in service.ports:
        if port == (each.port if isinstance(port, int) else each.name):
            return each
    return ServicePort("", port) if service.headless and isinstance(port, int) else None


def merged(service: Service, port: int | str, slices: Iterable[Slice], zone: str = "") -> tuple[Member, ...] | None:
    """The endpoints of a Service's port, in order of address; None if it has no such port. `zone` is the asker's."""
    wanted = service_port(service, port)
    if wanted is None or service.external:
        return None
    best: dict[tuple[str, int], Member] = {}
    for member in _members(service, wanted, slices):
        place = (member.endpoint.address, member.port)
        if place not in best or member.rank > best[place].rank:
            best[place] = member
    usable = _usable(best.values())
    usable = _hinted(_one_family(usable, service.families), zone)
    return tuple(sorted(usable, key=lambda member: (member.endpoint.address, member.port)))


def _members(service: Service, wanted: ServicePort, slices: Iterable[Slice]) -> Iterator[Member]:
    declared = wanted in service.ports
    for each in slices:
        for port in _ports(each, wanted, declared):
            for endpoint in each.endpoints:
                yield Member(endpoint, port, each.family)


def _ports(each: Slice, wanted: ServicePort, declared: bool) -> Iterator[int]:
    if not declared and not each.ports:
        yield wanted.port  # a headless Service without ports: whichever was called
    for port in each.ports:
        if port.port is None:
            yield wanted.port
        elif _same(port, wanted, declared):
            yield port.port


def _same(port: SlicePort, wanted: ServicePort, declared: bool) -> bool:
    return port.name == wanted.name if declared else port.port == wanted.port


def _usable(members: Iterable[Member]) -> list[Member]:
    members = list(members)
    ready = [member for member in members if member.endpoint.ready]
    return ready or [member for member in members if member.endpoint.serving and member.endpoint.terminating]


def _one_family(members: list[Member], families: tuple[str, ...]) -> list[Member]:
    """Leaves out a pod's address in the secondary family where it has one in the primary."""
    primary = families[0] if families else "IPv4"
    preferred = {(member.endpoint.uid, member.port) for member in members if member.family == primary}
    return [
        member
        for member in members
        if member.family == primary or not member.endpoint.uid or (member.endpoint.uid, member.port) not in preferred
    ]


def _hinted(members: list[Member], zone: str) -> list[Member]:
    if not zone or not all(member.endpoint.ready and member.endpoint.zones for member in members):
        return members
    return [member for member in members if zone in member.endpoint.zones] or members


def app_protocol(service: Service, wanted: ServicePort, ports: Iterable[SlicePort]) -> str:
    """What a Service's port speaks: "http2", "http1", "tcp", or "detect" where nobody said."""
    ports = [port for port in ports if _same(port, wanted, wanted in service.ports)]
    numbers = {wanted.port, *(port.port for port in ports if port.port is not None)}
    if any(number in opaque for number in numbers for opaque in service.opaque_ports):
        return "tcp"
    said = next((text for text in (wanted.app_protocol, *(port.app_protocol for port in ports)) if text), "")
    return {"grpc": "http2", "kubernetes.io/h2c": "http2", "http": "http1", "tcp": "tcp"}.get(said, "detect")
