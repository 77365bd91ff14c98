"""The proxy's configuration: frozen records built from YAML and the environment.

`load` and `parse` either return a whole, valid `Config` or raise `ConfigError` with every error found, each
beginning with its key path. Reading has no side effects: nothing is opened, resolved or bound, so a running
proxy can try a new file and keep its old configuration. Key names carry their unit (`_s` seconds, `_bytes`).

Listeners and routes have modules of their own; all is imported from here. Must not know how any of it is
used. `docs/configuration.md` describes every key; a test keeps
it complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proxy import overrides, yamltree
from proxy.address import SocketAddress, address, dns_name, entry_name
from proxy.config_discovery import DiscoveryConfig
from proxy.config_kubernetes import KubernetesConfig, KubernetesServiceConfig
from proxy.config_listeners import ListenerConfig, listener_problems
from proxy.config_routes import MatchConfig, RouteConfig, route_problems
from proxy.schema import (
    INVALID,
    Errors,
    Problem,
    choice,
    integer,
    items,
    key,
    number,
    plain,
    record,
    repeated,
    section,
    text,
)

__all__ = [
    "AccessLogConfig",
    "AdminConfig",
    "ClusterConfig",
    "Config",
    "ConfigError",
    "DiscoveryConfig",
    "DnsConfig",
    "EwmaConfig",
    "KubernetesConfig",
    "KubernetesServiceConfig",
    "LimitsConfig",
    "ListenerConfig",
    "MatchConfig",
    "RouteConfig",
    "StaticConfig",
    "StaticEndpoint",
    "load",
    "parse",
]


class ConfigError(Exception):
    """A configuration that cannot be used; `errors` has one line for each thing that is wrong."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@record
class AdminConfig:
    """Where metrics, health and the other admin pages are served."""

    address: SocketAddress = key(address(), default=SocketAddress("127.0.0.1", 4191), render=str)
    probe_ports: tuple[int, ...] = key(items(integer(1, 65_535)), default=())


@record
class AccessLogConfig:
    """Where the access log goes: "-" is stdout, anything else a file."""

    path: str = key(text(r"[^\0]+", '"-" for stdout or the path of a file'))


@record
class LimitsConfig:
    """Bounds on what one downstream connection may ask for."""

    max_header_fields: int = key(integer(1, 10_000), default=100)
    max_header_list_bytes: int = key(integer(1024, 16 * 2**20), default=65_536)
    max_concurrent_streams: int = key(integer(1, 1_000_000), default=1000)
    header_timeout_s: float = key(number(0.1, 3600), default=10.0)
    detect_timeout_s: float = key(number(0.1, 3600), default=10.0)


@record
class EwmaConfig:
    """The numbers of the peak EWMA balancer."""

    decay_s: float = key(number(0.001, 3600), default=10.0)
    initial_s: float = key(number(0.000001, 60), default=0.03)
    failure_penalty_s: float = key(number(0, 3600), default=5.0)


@record
class StaticEndpoint:
    """One endpoint written in the file."""

    address: SocketAddress = key(address(hint="; for a host name use `dns` instead of `static`"), render=str)
    weight: int = key(integer(1, 1000), default=1)
    pod: str = key(text(r"[!-~]{0,253}", "a pod's name"), default="")


@record
class StaticConfig:
    """Endpoints written in the file; an empty list is a service without endpoints."""

    endpoints: tuple[StaticEndpoint, ...] = key(items(section(StaticEndpoint)))

    def problems(self) -> Iterator[Problem]:
        for index, first, value in repeated(self.endpoints, "address"):
            yield (
                f"endpoints[{index}].address",
                f"{value} is endpoints[{first}] already; remove one of the two",
            )


@record
class DnsConfig:
    """Endpoints found by DNS: every A and AAAA record of `name` is one, at `port`."""

    name: str = key(dns_name)
    port: int = key(integer(1, 65_535))
    min_refresh_s: float = key(number(0.1, 86_400), default=1.0)
    max_refresh_s: float = key(number(0.1, 86_400), default=30.0)
    nameservers: tuple[SocketAddress, ...] = key(
        items(address(default_port=53)),
        default=(),
        render=lambda servers: [str(server) for server in servers],
    )

    def problems(self) -> Iterator[Problem]:
        if self.min_refresh_s > self.max_refresh_s:
            yield "min_refresh_s", f"must not be above max_refresh_s, which is {self.max_refresh_s:g}"


@record
class ClusterConfig:
    """A service's endpoints, how one is picked and how it is connected to; one of the sources is set."""

    name: str = key(entry_name)
    protocol: str = key(choice("http2", "detect", "tcp"), default="http2")
    balancer: str = key(choice("peak_ewma", "least_request", "round_robin", "random"), default="peak_ewma")
    connect_timeout_s: float = key(number(0.001, 600), default=1.0)
    failfast_s: float = key(number(0, 3600), default=3.0)
    max_pending: int = key(integer(0, 1_000_000), default=100)
    max_connections_per_endpoint: int = key(integer(1, 1000), default=10)
    ewma: EwmaConfig = key(section(EwmaConfig), default=EwmaConfig())
    static: StaticConfig | None = key(section(StaticConfig), default=None)
    dns: DnsConfig | None = key(section(DnsConfig), default=None)
    kubernetes: KubernetesServiceConfig | None = key(section(KubernetesServiceConfig), default=None)

    @property
    def source(self) -> StaticConfig | DnsConfig | KubernetesServiceConfig | None:
        """Where its endpoints come from."""
        return self.static or self.dns or self.kubernetes

    def problems(self) -> Iterator[Problem]:
        given = [name for name in ("static", "dns", "kubernetes") if getattr(self, name) is not None]
        if not given:
            yield "", "has no source of endpoints; add `static`, `dns` or `kubernetes`"
        if len(given) > 1:
            named = " and ".join(f"`{name}`" for name in given)
            yield "", f"has {'both ' if len(given) == 2 else ''}{named}; keep one of them"


@record
class Config:
    """The whole configuration."""

    admin: AdminConfig = key(section(AdminConfig), default=AdminConfig())
    access_log: AccessLogConfig | None = key(section(AccessLogConfig), default=None)
    log_level: str = key(choice("debug", "info", "warning", "error"), default="info")
    shutdown_grace_s: float = key(number(0, 86_400), default=30.0)
    limits: LimitsConfig = key(section(LimitsConfig), default=LimitsConfig())
    kubernetes: KubernetesConfig = key(section(KubernetesConfig), default=KubernetesConfig())
    discovery: DiscoveryConfig = key(section(DiscoveryConfig), default=DiscoveryConfig())
    listeners: tuple[ListenerConfig, ...] = key(items(section(ListenerConfig), at_least=1))
    clusters: tuple[ClusterConfig, ...] = key(items(section(ClusterConfig)), default=())
    routes: tuple[RouteConfig, ...] = key(items(section(RouteConfig)), default=())

    def problems(self) -> Iterator[Problem]:
        for index, first, name in repeated(self.clusters, "name"):
            yield (
                f"clusters[{index}].name",
                f"{name!r} is the name of clusters[{first}] already; choose another",
            )
        passing = any(listener.intercept is not None for listener in self.listeners) or self.discovery.mode != "none"
        for kind, entries in (("clusters", self.clusters), ("routes", self.routes)):
            if entries == () and not passing:
                yield kind, "must have 1 or more entries, unless a listener has `intercept` or there is `discovery`"
        yield from listener_problems(self.listeners, self.admin.address)
        protocols = {item.name: item.protocol for item in self.clusters if item.name is not INVALID}
        missing = self.clusters is INVALID or (self.clusters == () and not passing)
        yield from route_problems(self.routes, self.listeners, None if missing else protocols)

    def as_dict(self) -> dict[str, Any]:
        """The configuration in the shape of the file, defaults filled in, ready for JSON."""
        result: dict[str, Any] = plain(self)
        return result


def load(path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> Config:
    """Reads a file (UTF-8) and the environment (the process's own if not given); raises ConfigError."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError((f"file: cannot be read: {error.strerror or error}",)) from error
    except ValueError as error:
        raise ConfigError((f"file: is not UTF-8 text: {error}",)) from error
    return parse(content, os.environ if environment is None else environment)


def parse(content: str, environment: Mapping[str, str] | None = None) -> Config:
    """Makes a Config of YAML text and, if given, the overrides in an environment; raises ConfigError."""
    given = overrides.present(environment or {})
    errors = Errors(origins={path: given[path].variable for path in given})
    tree = yamltree.read(content, errors)
    if tree is None:
        errors.add("", "is empty; it needs listeners, clusters and routes")
    elif tree is not INVALID:
        config = section(Config)(overrides.applied(tree, given), "", errors)
    if errors.lines:
        raise ConfigError(tuple(errors.lines))
    assert isinstance(config, Config)
    return config
