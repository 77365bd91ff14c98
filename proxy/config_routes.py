"""The configuration's routes: which calls and connections go to which clusters.

Part of `proxy.config`, which is where to import from. Knows what a route may say and what contradicts itself;
`proxy.routes` follows routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from proxy.address import SocketAddress, address, entry_name
from proxy.config_listeners import ListenerConfig
from proxy.schema import INVALID, Problem, below, integer, key, number, pairs, record, section, suggestion, text

_REQUEST_KEYS: Final = ("path_prefix", "service", "method")


@record
class MatchConfig:
    """Which calls a route takes: those for which every key given here holds; none given: all."""

    listener: str | None = key(entry_name, default=None)
    destination: SocketAddress | None = key(address(), default=None, render=str)
    authority: str | None = key(
        text(r"[!-.0-?A-~]+", "a host, with its port if clients send one, like voting.example:8080"),
        default=None,
    )
    path_prefix: str | None = key(text(r"/[!-\"$->@-~]*", "a path that begins with / (no ? and #)"), default=None)
    service: str | None = key(
        text(
            r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*",
            "a gRPC service with its package, like emojivoto.v1.VotingService",
        ),
        default=None,
    )
    method: str | None = key(text(r"[A-Za-z_][A-Za-z0-9_]*", "a gRPC method's name, like Vote"), default=None)

    @property
    def request_keys(self) -> tuple[str, ...]:
        """The keys given that look at a request's path, and so never hold for TCP."""
        return tuple(name for name in _REQUEST_KEYS if getattr(self, name) not in (None, INVALID))

    def problems(self) -> Iterator[Problem]:
        if self.path_prefix is not None and (self.service is not None or self.method is not None):
            yield "path_prefix", "cannot stand beside service or method; keep one of the two ways"
        if self.method is not None and self.service is None:
            yield "method", "needs `service` beside it"


@record
class RouteConfig:
    """Sends the calls that match to one cluster, or to several by weight; the first route to match wins."""

    match: MatchConfig = key(section(MatchConfig), default=MatchConfig())
    cluster: str | None = key(entry_name, default=None)
    clusters: tuple[tuple[str, int], ...] | None = key(pairs(integer(0, 10_000)), default=None, render=dict)
    timeout_s: float | None = key(number(0.001, 86_400), default=None)

    @property
    def targets(self) -> tuple[tuple[str, int], ...]:
        """(cluster, weight) for each cluster, in whichever way the file names them; one weight is above 0."""
        return self.clusters or ((self.cluster or "", 1),)

    def problems(self) -> Iterator[Problem]:
        if self.cluster is None and self.clusters is None:
            yield "", "leads nowhere; add `cluster` or `clusters`"
        if self.cluster is not None and self.clusters is not None:
            yield "", "has both `cluster` and `clusters`; keep one of them"
        weights = [weight for _, weight in self.clusters or ()]
        if weights and not any(weights):
            yield "clusters", "all weights are 0; give one cluster a weight above 0"


def route_problems(
    routes: tuple[RouteConfig, ...],
    listeners: tuple[ListenerConfig, ...],
    protocols: Mapping[str, str] | None,
) -> Iterator[Problem]:
    """What is wrong between routes and what they name; `protocols` is that of each cluster, None if unknown."""
    sound = [item for item in listeners if INVALID not in (item, item.name, item.intercept, item.protocol)]
    known = bool(sound) and len(sound) == len(listeners)
    for index, route in enumerate(routes):
        if route.match is INVALID:
            continue
        if known and route.match.listener is not INVALID:
            for place, message in _match_problems(route.match, sound):
                yield f"routes[{index}].{place}", message
        if protocols is not None:
            for place, message in _target_problems(route, protocols):
                yield f"routes[{index}].{place}", message


def _match_problems(match: MatchConfig, listeners: list[ListenerConfig]) -> Iterator[Problem]:
    """A route's `match` beside the listeners: one must be able to follow it, and learn what it goes by."""
    if match.listener is None:
        followers = [item for item in listeners if item.intercept != "inbound"]
        if not followers:
            yield "match", "no listener follows this; one with `intercept: inbound` has to be named by `listener`"
    else:
        names = [item.name for item in listeners]
        followers = [item for item in listeners if item.name == match.listener]
        if not followers:
            yield "match.listener", f"no listener is called {match.listener!r}; {suggestion(match.listener, names)}"
    if not followers:
        return
    if match.destination not in (None, INVALID) and all(item.intercept is None for item in followers):
        yield "match.destination", "never holds; only a listener with `intercept` learns where connections were going"
    if all(item.protocol == "tcp" for item in followers):
        for name in match.request_keys:
            yield f"match.{name}", f"never holds; listener {followers[0].name} takes TCP, which has no requests"


def _target_problems(route: RouteConfig, protocols: Mapping[str, str]) -> Iterator[Problem]:
    """A route's clusters: they must be there, and what leads to TCP alone cannot look at requests."""
    named = [("cluster", route.cluster)] if route.cluster is not None else []
    named += [(below("clusters", name), name) for name, _ in route.clusters or ()]
    for place, name in named:
        if name is not INVALID and name not in protocols:
            yield place, f"no cluster is called {name!r}; {suggestion(name, protocols)}"
    if named and all(protocols.get(name) == "tcp" for _, name in named):
        for key_name in route.match.request_keys:
            yield f"match.{key_name}", f"cannot lead to {named[0][1]}, which is TCP and has no requests; remove it"
