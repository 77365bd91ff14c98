"""The proxy's metrics: their names, labels and meanings, and where each number is read.

Each function lists some families as rows over the data plane's figures; nothing here is touched per call,
and nothing keeps a number. `docs/metrics.md` describes the same list, and a test compares them. It knows
nothing of how the rows are written (`exposition`) or of `prometheus_client` (`metrics`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.admin.merged import MergedStats
from proxy.admin.source import CallStats, Cluster, Endpoint, Histogram, Plane

Labels = tuple[str, ...]
Value = float | Histogram
Rows = Callable[[], Iterable[tuple[Labels, Value]]]
Kind = Literal["counter", "gauge", "histogram", "info"]
Calls = Mapping[Labels, CallStats]

SUFFIXES: dict[Kind, str] = {"counter": "_total", "gauge": "", "histogram": "", "info": "_info"}

CALL: Labels = ("authority", "cluster", "endpoint", "method", "pod")
DIRECTED: Labels = ("authority", "cluster", "direction", "endpoint", "method", "pod")
RESPONSE: Labels = (
    "authority",
    "classification",
    "cluster",
    "endpoint",
    "flag",
    "grpc_status",
    "http_status",
    "method",
    "pod",
)
ENDPOINT: Labels = ("cluster", "endpoint", "pod")
CLUSTER: Labels = ("cluster",)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without the suffix that its samples carry (`_total`, `_info`).

    `labels` are in alphabetical order, the order they are written in. `rows` reads the numbers when it is
    iterated, each row at its turn; label values are in the order of `labels`. The value is a Histogram if
    that is the kind, a number otherwise.
    """

    name: str
    kind: Kind
    labels: Labels
    help: str
    rows: Rows
    unit: str = ""

    @property
    def sample_name(self) -> str:
        return self.name + SUFFIXES[self.kind]


def call_families(plane: Plane) -> list[Family]:
    """What is counted per authority, cluster, endpoint and method. Times run from a call's first header."""
    calls: dict[Labels, CallStats] = {}
    for stats in plane.call_stats():
        labels = (stats.authority, stats.cluster, stats.endpoint, stats.method, stats.pod)
        same = calls.get(labels)
        calls[labels] = stats if same is None else MergedStats(same, stats)

    def each(of: Callable[[CallStats], Value]) -> Rows:
        return lambda: ((labels, of(stats)) for labels, stats in calls.items())

    # Ends before starts: a scrape takes several turns of the event loop, and must not show more ends than
    # starts.
    return [
        Family("meshctl_response", "counter", RESPONSE, "Calls that ended.", lambda: _responses(calls)),
        Family("meshctl_request", "counter", CALL, "Calls that started.", each(lambda s: s.started)),
        Family(
            "meshctl_calls_in_flight",
            "gauge",
            CALL,
            "Calls that have started and not ended.",
            each(lambda s: s.in_flight),
        ),
        Family(
            "meshctl_response_headers_seconds",
            "histogram",
            CALL,
            "Time to the response headers.",
            each(lambda s: s.headers_s),
            unit="seconds",
        ),
        Family(
            "meshctl_response_seconds",
            "histogram",
            CALL,
            "Time to the end of the call.",
            each(lambda s: s.end_s),
            unit="seconds",
        ),
        Family(
            "meshctl_messages",
            "counter",
            DIRECTED,
            "gRPC messages forwarded.",
            lambda: _directed(calls, lambda s: s.request_messages, lambda s: s.response_messages),
        ),
        Family(
            "meshctl_bytes",
            "counter",
            DIRECTED,
            "Bytes of message bodies forwarded.",
            lambda: _directed(calls, lambda s: s.request_bytes, lambda s: s.response_bytes),
            unit="bytes",
        ),
    ]


def _responses(calls: Calls) -> Iterator[tuple[Labels, Value]]:
    for (authority, cluster, endpoint, method, pod), stats in calls.items():
        for classification, http_status, grpc_status, flag, count in stats.responses():
            http = str(http_status) if http_status > 0 else ""
            grpc = str(grpc_status) if grpc_status >= 0 else ""
            yield (authority, classification, cluster, endpoint, flag, grpc, http, method, pod), count


def _directed(
    calls: Calls, request: Callable[[CallStats], int], response: Callable[[CallStats], int]
) -> Iterator[tuple[Labels, Value]]:
    for (authority, cluster, endpoint, method, pod), stats in calls.items():
        yield (authority, cluster, "request", endpoint, method, pod), request(stats)
        yield (authority, cluster, "response", endpoint, method, pod), response(stats)


def endpoint_families(plane: Plane) -> list[Family]:
    """What is known of each endpoint now."""
    # A pod that came back under its name and address is a new endpoint beside its draining predecessor, but
    # the labels are the same: one series, in which the newcomer, put last here, speaks for both.
    endpoints: dict[Labels, list[Endpoint]] = {}
    for cluster in plane.clusters.values():
        for endpoint in sorted(cluster.endpoints, key=lambda e: e.state != "draining"):
            endpoints.setdefault((cluster.name, endpoint.address, endpoint.pod), []).append(endpoint)

    def each(of: Callable[[Sequence[Endpoint]], float]) -> Rows:
        return lambda: ((labels, of(same)) for labels, same in endpoints.items())

    return [
        Family(
            "meshctl_endpoint_ewma_seconds",
            "gauge",
            ENDPOINT,
            "Moving average of response times that the balancer goes by.",
            each(lambda same: same[-1].ewma_s),
            unit="seconds",
        ),
        Family(
            "meshctl_endpoint_connections",
            "gauge",
            ENDPOINT,
            "HTTP/2 connections open to the endpoint.",
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


def cluster_families(plane: Plane) -> list[Family]:
    """What is known of each cluster now."""
    clusters = list(plane.clusters.values())

    def each(of: Callable[[Cluster], float]) -> Rows:
        return lambda: (((cluster.name,), of(cluster)) for cluster in clusters)

    def ages() -> Iterator[tuple[Labels, Value]]:
        now_s = plane.now_s()
        for cluster in clusters:
            if not math.isnan(cluster.updated_at_s):
                yield (cluster.name,), max(0.0, now_s - cluster.updated_at_s)

    return [
        Family(
            "meshctl_cluster_pending",
            "gauge",
            CLUSTER,
            "Calls that wait for a ready endpoint.",
            each(lambda cluster: cluster.pending),
        ),
        Family(
            "meshctl_cluster_failfast",
            "gauge",
            CLUSTER,
            "1 while calls are refused at once because no endpoint has been ready for long, else 0.",
            each(lambda cluster: int(cluster.failfast)),
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


def downstream_families(plane: Plane) -> list[Family]:
    """What is counted for the whole proxy."""
    return [
        Family(
            "meshctl_downstream_connections",
            "gauge",
            (),
            "Connections open from clients.",
            lambda: [((), plane.downstream_connections)],
        ),
        Family(
            "meshctl_downstream_cuts",
            "counter",
            ("reason",),
            "Connections from clients that the proxy cut.",
            lambda: [((reason,), count) for reason, count in plane.cuts.items()],
        ),
        Family(
            "meshctl_faults",
            "counter",
            (),
            "Faults inside the proxy.",
            lambda: [((), plane.faults)],
        ),
    ]
