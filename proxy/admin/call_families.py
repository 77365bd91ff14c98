"""What is counted of HTTP/2 and HTTP/1.x calls, per authority, cluster, endpoint, method and protocol."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.admin.family import Family, Labels, Rows, Value
from proxy.admin.merged import by_labels
from proxy.admin.source import CallStats

Calls = Mapping[Labels, CallStats]

CALL: Labels = ("authority", "cluster", "endpoint", "method", "pod", "protocol")
DIRECTED: Labels = ("authority", "cluster", "direction", "endpoint", "method", "pod", "protocol")
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
    "protocol",
)


def call_families(stats: Iterable[CallStats]) -> list[Family]:
    """Of `stats`, none of which is TCP's. Times run from a call's first header."""
    calls = by_labels(stats, lambda s: (s.authority, s.cluster, s.endpoint, s.method, s.pod, s.protocol))

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
    for (authority, cluster, endpoint, method, pod, protocol), stats in calls.items():
        for classification, http_status, grpc_status, flag, count in stats.responses():
            http = str(http_status) if http_status > 0 else ""
            grpc = str(grpc_status) if grpc_status >= 0 else ""
            yield (authority, classification, cluster, endpoint, flag, grpc, http, method, pod, protocol), count


def _directed(
    calls: Calls, request: Callable[[CallStats], int], response: Callable[[CallStats], int]
) -> Iterator[tuple[Labels, Value]]:
    for (authority, cluster, *rest), stats in calls.items():
        yield (authority, cluster, "request", *rest), request(stats)
        yield (authority, cluster, "response", *rest), response(stats)
