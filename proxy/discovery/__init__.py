"""Where endpoints come from.

A `Resolver` is one source of endpoints for one cluster; it yields `EndpointUpdate`s until it is closed. The
first update is a `Reset` or a `DoesNotExist`, and so is the first one after a `DoesNotExist`; in between,
`Add` and `Remove` say what changed. A source that cannot be reached yields nothing: the last known endpoints
stay.

Knows nothing of connections, balancers or calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.config import ClusterConfig, DnsConfig, KubernetesConfig, KubernetesServiceConfig, StaticConfig

__all__ = [
    "Add",
    "DoesNotExist",
    "EndpointAddress",
    "EndpointUpdate",
    "Remove",
    "Reset",
    "Resolver",
    "make_resolver",
]

IN_CLUSTER: Final = KubernetesConfig()
"""The API server as every pod finds it."""


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """One place a cluster's calls can go to.

    `host` is an IP address. `weight` is its share of calls relative to its peers. `pod` names it in metrics,
    and `uid` tells apart two pods that had the same address one after the other; both may be empty.
    """

    host: str
    port: int
    weight: int = 1
    pod: str = ""
    uid: str = ""

    @property
    def identity(self) -> tuple[str, int, str]:
        """What makes it the same endpoint in two updates: (host, port, uid)."""
        return self.host, self.port, self.uid


@dataclass(frozen=True, slots=True)
class Reset:
    """These are all the endpoints there are; none is a service that exists and is empty."""

    endpoints: tuple[EndpointAddress, ...]


@dataclass(frozen=True, slots=True)
class Add:
    """These endpoints are new."""

    endpoints: tuple[EndpointAddress, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """These endpoints are gone."""

    endpoints: tuple[EndpointAddress, ...]


@dataclass(frozen=True, slots=True)
class DoesNotExist:
    """The source says there is no such service."""


EndpointUpdate = Reset | Add | Remove | DoesNotExist


class Resolver(Protocol):
    """A source of endpoints."""

    def updates(self) -> AsyncGenerator[EndpointUpdate, None]:
        """Yields updates until it is closed (`aclose`) or the task that iterates it is cancelled."""
        ...


def make_resolver(cluster: ClusterConfig, kubernetes: KubernetesConfig = IN_CLUSTER) -> Resolver:
    """The resolver for the source a cluster names; `kubernetes` says how the API server is reached."""
    # Each source is imported when a cluster uses it: DNS alone would cost every sidecar 5 MB, Kubernetes 13.
    match cluster.source:
        case KubernetesServiceConfig() as service:
            from proxy.discovery.kubernetes.resolver import KubernetesResolver

            return KubernetesResolver(service, kubernetes)
        case DnsConfig() as name:
            from proxy.discovery.dns import DnsResolver

            return DnsResolver(name)
        case StaticConfig() as endpoints:
            from proxy.discovery.static import StaticResolver

            return StaticResolver(endpoints)
        case None:
            raise AssertionError("a cluster without a source passes no check")
