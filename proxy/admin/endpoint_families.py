"""What is known of each endpoint and each cluster now, per protocol that its callers speak.

Several data plane clusters may have one name and protocol, those of original destinations do; and a pod that came
back under its name and address is a new endpoint beside its draining predecessor. To Prometheus each is one series.
"""

import math
from collections.abc import Callable, Iterator, Sequence

from proxy.admin.family import Family, Labels, Rows, Value
from proxy.admin.source import Cluster, Endpoint, Plane

ENDPOINT: Labels = ("cluster", "endpoint", "pod", "protocol")
CLUSTER: Labels = ("cluster", "protocol")


def endpoint_families(plane: Plane) -> list[Family]:
    """What is known of each endpoint now."""
    endpoints = _endpoints(plane)

    def each(of: Callable[[Sequence[Endpoint]], float]) -> Rows:
        return lambda: ((labels, of(same)) for labels, same in endpoints.items())

    return [
        Family(
            "meshctl_endpoint_ewma_seconds",
            "gauge",
            ENDPOINT,
            "Moving average of response times, for TCP of connect times, that the balancer goes by.",
            each(lambda same: same[-1].ewma_s),
            unit="seconds",
        ),
        Family(
            "meshctl_endpoint_connections",
            "gauge",
            ENDPOINT,
            "Connections open to the endpoint.",
            each(lambda same: sum(e.connections for e in same)),
        ),
        Family(
            "meshctl_endpoint_connect_failures",
            "counter",
            ENDPOINT,
            "Attempts to connect to the endpoint that failed.",
            each(lambda same: sum(e.connect_failures for e in same)),
        ),
        Family(
            "meshctl_endpoint_ready",
            "gauge",
            ENDPOINT,
            "1 when the balancer may pick the endpoint, else 0.",
            each(lambda same: int(any(e.state == "ready" for e in same))),
        ),
    ]


def _endpoints(plane: Plane) -> dict[Labels, list[Endpoint]]:
    """By labels. One that does not drain comes last, and speaks for those that cannot be added up."""
    endpoints: dict[Labels, list[Endpoint]] = {}
    for cluster in plane.clusters.values():
        for endpoint in cluster.endpoints:
            labels = (cluster.name, endpoint.address, endpoint.pod, cluster.protocol)
            endpoints.setdefault(labels, []).append(endpoint)
    for same in endpoints.values():
        same.sort(key=lambda endpoint: endpoint.state != "draining")
    return endpoints


def cluster_families(plane: Plane) -> list[Family]:
    """What is known of each cluster now."""
    clusters: dict[Labels, list[Cluster]] = {}
    for cluster in plane.clusters.values():
        clusters.setdefault((cluster.name, cluster.protocol), []).append(cluster)

    def each(of: Callable[[Sequence[Cluster]], float]) -> Rows:
        return lambda: ((labels, of(same)) for labels, same in clusters.items())

    def ages() -> Iterator[tuple[Labels, Value]]:
        now_s = plane.now_s()
        for labels, same in clusters.items():
            updates_s = [cluster.updated_at_s for cluster in same if not math.isnan(cluster.updated_at_s)]
            if updates_s:
                yield labels, max(0.0, now_s - min(updates_s))

    return [
        Family(
            "meshctl_cluster_pending",
            "gauge",
            CLUSTER,
            "Calls that wait for a ready endpoint.",
            each(lambda same: sum(cluster.pending for cluster in same)),
        ),
        Family(
            "meshctl_cluster_failfast",
            "gauge",
            CLUSTER,
            "1 while calls are refused at once because no endpoint has been ready for long, else 0.",
            each(lambda same: int(any(cluster.failfast for cluster in same))),
        ),
        Family(
            "meshctl_cluster_update_age_seconds",
            "gauge",
            CLUSTER,
            "Time since the resolver last told the endpoints; absent until it first does.",
            ages,
            unit="seconds",
        ),
    ]
