"""The data plane's clusters: those of the configuration, and those made for places that nobody configured.

A configured cluster is a `Lanes`: one data plane Cluster for each protocol its callers speak, all with the same
endpoints, since how fast a pod answers calls and how fast it accepts connections are different figures. `Originals`
makes a Cluster with one endpoint for wherever a connection was going when no route takes it: outbound that very
address, inbound the application on loopback. It forgets those that are not used, and bounds their number.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from proxy.config import ClusterConfig
from proxy.dataplane import Cluster, DataPlane
from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset

MOST_ORIGINALS = 1000
LOOKED_AT = 10  # how many of them, when one more is asked for than that
UNUSED_S = 120.0


class Lanes:
    """One configured cluster."""

    def __init__(self, plane: DataPlane, config: ClusterConfig) -> None:
        self._plane = plane
        self._endpoints: dict[Any, EndpointAddress] = {}
        self._lanes: dict[str, Cluster] = {}
        self.config = config
        self.exists: bool | None = None  # None: its source has not spoken
        if config.protocol == "http2":
            self.lane("http2")

    def lane(self, protocol: str) -> Cluster:
        """The Cluster for "http2", "http1" or "tcp"; the same one each time."""
        cluster = self._lanes.get(protocol)
        if cluster is None:
            cluster = Cluster(self._plane, self.config.name, protocol=protocol, **_settings(self.config))
            self._lanes[protocol] = cluster
            if self.exists:
                self._plane.turn(cluster.reset, list(self._endpoints.values()))
            elif self.exists is False:
                self._plane.turn(cluster.does_not_exist)
        return cluster

    def clusters(self) -> Iterable[Cluster]:
        """Those there are so far."""
        return self._lanes.values()

    def configure(self, config: ClusterConfig) -> None:
        """Change settings in place."""
        self.config = config
        for cluster in self._lanes.values():
            cluster.configure(**_settings(config))
        if config.protocol == "http2":
            self.lane("http2")

    def update(self, update: EndpointUpdate) -> None:
        """What the resolver says."""
        self.exists = not isinstance(update, DoesNotExist)
        match update:
            case Reset(endpoints):
                self._endpoints = {each.identity: each for each in endpoints}
            case Add(endpoints):
                self._endpoints |= {each.identity: each for each in endpoints}
            case Remove(endpoints):
                for each in endpoints:
                    self._endpoints.pop(each.identity, None)
            case DoesNotExist():
                self._endpoints = {}
        for cluster in self._lanes.values():
            self._tell(cluster, update)

    def _tell(self, cluster: Cluster, update: EndpointUpdate) -> None:
        match update:
            case Reset(endpoints):
                self._plane.turn(cluster.reset, endpoints)
            case Add(endpoints):
                self._plane.turn(cluster.add, endpoints)
            case Remove(endpoints):
                self._plane.turn(cluster.remove, endpoints)
            case DoesNotExist():
                self._plane.turn(cluster.does_not_exist)

    def close(self) -> None:
        for cluster in self._lanes.values():
            self._plane.turn(cluster.close)


def _settings(config: ClusterConfig) -> dict[str, Any]:
    return {
        "balancer": config.balancer,
        "failfast_s": config.failfast_s,
        "max_pending": config.max_pending,
        "max_connections_per_endpoint": config.max_connections_per_endpoint,
        "connect_timeout_s": config.connect_timeout_s,
        "decay_s": config.ewma.decay_s,
        "initial_s": config.ewma.initial_s,
        "failure_penalty_s": config.ewma.failure_penalty_s,
    }


def _running(cluster: Cluster) -> int:
    """How many calls it has."""
    return sum(endpoint.in_flight for endpoint in cluster.endpoints) + cluster.pending


class Originals:
    """Clusters for original destinations. `forgotten` is called after some were closed: routes may lead to them."""

    def __init__(self, plane: DataPlane, forgotten: Callable[[], None]) -> None:
        self._plane = plane
        self._forgotten = forgotten
        self._clusters: OrderedDict[tuple[str, str, str], Cluster] = OrderedDict()
        self._seen: dict[tuple[str, str, str], tuple[int, float]] = {}  # calls by then, and when that changed

    def cluster(self, direction: str, destination: str, protocol: str) -> Cluster:
        """Where a connection to `destination` ("ip:port") goes by itself. `direction` is "outbound" or "inbound"."""
        key = (direction, destination, protocol)
        cluster = self._clusters.get(key)
        if cluster is None:
            self._make_room()
            cluster = self._clusters[key] = self._make(*key)
        self._clusters.move_to_end(key)
        return cluster

    def _make_room(self) -> None:
        """Close what was asked for longest ago and is not in use; there may be as many more as are."""
        closed = False
        for _ in range(LOOKED_AT):
            if len(self._clusters) < MOST_ORIGINALS:
                break
            key, cluster = next(iter(self._clusters.items()))
            if _running(cluster):
                self._clusters.move_to_end(key)
            else:
                self._close(key)
                closed = True
        if closed:
            self._forgotten()

    def _make(self, direction: str, destination: str, protocol: str) -> Cluster:
        host, _, port = destination.rpartition(":")
        host = host.strip("[]")
        if direction == "inbound":
            host = "::1" if ":" in host else "127.0.0.1"
        name = "inbound" if direction == "inbound" else "passthrough"
        cluster = Cluster(
            self._plane,
            name,
            protocol=protocol,
            only=True,
            inbound=direction == "inbound",
            key=f"{name} {destination} {protocol}",
        )
        self._plane.turn(cluster.reset, [EndpointAddress(host, int(port))])
        return cluster

    def sweep(self) -> None:
        """Close those that carried nothing for a while."""
        now_s = self._plane.now_s()
        for key, cluster in list(self._clusters.items()):
            calls = sum(endpoint.calls for endpoint in cluster.endpoints)
            before, since_s = self._seen.get(key, (-1, now_s))
            if _running(cluster) or calls != before:
                self._seen[key] = (calls, now_s)
            elif now_s - since_s > UNUSED_S:
                self._close(key)
        if len(self._seen) > len(self._clusters):
            self._seen = {key: seen for key, seen in self._seen.items() if key in self._clusters}
            self._forgotten()

    def _close(self, key: tuple[str, str, str]) -> None:
        self._plane.turn(self._clusters.pop(key).close)

    def close(self) -> None:
        for key in list(self._clusters):
            self._close(key)
