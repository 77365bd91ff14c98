"""The route table: which clusters a call, or a TCP connection, leads to.

Pure: built from the configuration, asked by the data plane's Router once per new combination of what it goes by.
The first route that matches wins. Authorities are compared as a whole, port included, but without regard to case
and to the dot a full DNS name may end with (RFC 9110, section 4.2.3; RFC 1034, section 3.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.config import MatchConfig, RouteConfig

Target = tuple[list[tuple[Any, int]], float | None]
Resolve = Callable[[str, str, str, str, str], Target | None]
ClusterFor = Callable[[str], Any]
"""A cluster's name stands for this: it takes "http2", "http1" or "tcp" and gives the data plane's Cluster."""

_AUTHORITY: Final = re.compile(r"(.*?)\.?(:[0-9]*)?", re.DOTALL).fullmatch


def _host_and_port(authority: str) -> tuple[str, str]:
    """("voting.example", ":8080") of "Voting.example.:8080"; an IPv6 host keeps its brackets."""
    found = _AUTHORITY(authority.lower())
    assert found, "the pattern takes any text"
    return found[1], found[2] or ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One route, with what it is compared by made ready."""

    match: MatchConfig
    authority: tuple[str, str] | None
    destination: str | None
    targets: list[tuple[ClusterFor, int]]
    timeout_s: float | None

    def follows(self, listener: str, destination: str, inbound: Collection[str]) -> bool:
        """Whether what comes in at `listener` on its way to `destination` may take this route."""
        if self.match.listener is None:
            if listener in inbound:
                return False
        elif self.match.listener != listener:
            return False
        return self.destination is None or self.destination == destination

    def names(self, authority: tuple[str, str], protocol: str, destination: str) -> bool:
        """Whether what was asked for by this name may take this route.

        TLS's server names have no port: where the connection was going says which of a host's ports is meant.
        """
        if self.authority is None or self.authority == authority:
            return True
        if protocol != "tcp" or self.authority[0] != authority[0]:
            return False
        return not destination or not self.authority[1] or destination.endswith(self.authority[1])

    def takes(self, path: str, grpc: bool) -> bool:
        """Whether the path is this route's. It has no query; gRPC's is "/package.Service/Method", TCP's empty."""
        match = self.match
        if match.path_prefix is not None:
            return path.startswith(match.path_prefix)
        if match.service is not None:
            prefix = f"/{match.service}/"
            return grpc and (path == prefix + match.method if match.method else path.startswith(prefix))
        return True


def route_table(
    routes: tuple[RouteConfig, ...],
    clusters: Mapping[str, ClusterFor],
    inbound: Collection[str] = (),
) -> Resolve:
    """What a Router asks, with `inbound` the names of the listeners that follow only routes naming them.

    (listener, destination, authority, path, protocol) to ([(Cluster, weight), ...], timeout_s), or None when no
    route matches. `destination` is the original one, "10.96.0.1:80" or "[fd00::1]:80", "" where there is none.
    `protocol` is "grpc", "http2", "http1" or "tcp"; for "tcp", `authority` is TLS's server name (RFC 6066,
    section 3) or "", and `path` is "".
    """
    table = [_entry(route, clusters) for route in routes]

    def resolve(listener: str, destination: str, authority: str, path: str, protocol: str) -> Target | None:
        name, grpc = _host_and_port(authority), protocol == "grpc"
        wire = "http2" if grpc else protocol
        for entry in table:
            if (
                entry.follows(listener, destination, inbound)
                and entry.names(name, protocol, destination)
                and entry.takes(path, grpc)
            ):
                return [(cluster_for(wire), weight) for cluster_for, weight in entry.targets], entry.timeout_s
        return None

    return resolve


def opaque_table(
    routes: tuple[RouteConfig, ...],
    protocols: Mapping[str, str],
    inbound: Collection[str] = (),
) -> Callable[[str, str], bool]:
    """(listener, destination) to whether a connection is to be passed on without a look into it.

    So it is when the first route that it follows, whatever else that route asks for, leads only to clusters whose
    protocol (`protocols`, by name) is "tcp".
    """
    table = [
        (_entry(route, dict.fromkeys(protocols, _nowhere)), all(protocols[name] == "tcp" for name, _ in route.targets))
        for route in routes
    ]

    def opaque(listener: str, destination: str) -> bool:
        for entry, only_tcp in table:
            if entry.follows(listener, destination, inbound):
                return only_tcp
        return False

    return opaque


def _nowhere(_protocol: str) -> None:
    """Stands for a cluster where only the routes' conditions are looked at."""


def _entry(route: RouteConfig, clusters: Mapping[str, ClusterFor]) -> _Entry:
    match = route.match
    return _Entry(
        match=match,
        authority=None if match.authority is None else _host_and_port(match.authority),
        destination=None if match.destination is None else str(match.destination),
        targets=[(clusters[name], weight) for name, weight in route.targets if weight],
        timeout_s=route.timeout_s,
    )
