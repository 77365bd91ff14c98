"""What is counted of connections that are passed through as bytes, per TLS server name, cluster and endpoint.

To the data plane such a connection is a call: its headers are there when the endpoint is connected to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.admin.family import Family, Labels, Rows, Value
from proxy.admin.merged import by_labels
from proxy.admin.source import CallStats

TCP: Labels = ("authority", "cluster", "endpoint", "pod")
DIRECTED: Labels = ("authority", "cluster", "direction", "endpoint", "pod")
CLOSE: Labels = ("authority", "classification", "cluster", "endpoint", "flag", "pod")


def tcp_families(stats: Iterable[CallStats]) -> list[Family]:
    """Of `stats`, all of which are TCP's."""
    connections = by_labels(stats, lambda s: (s.authority, s.cluster, s.endpoint, s.pod))

    def each(of: Callable[[CallStats], Value]) -> Rows:
        return lambda: ((labels, of(stats)) for labels, stats in connections.items())

    # Ends before starts, as with calls.
    return [
        Family("meshctl_tcp_close", "counter", CLOSE, "TCP connections that ended.", lambda: _closes(connections)),
        Family("meshctl_tcp_open", "counter", TCP, "TCP connections that began.", each(lambda s: s.started)),
        Family(
            "meshctl_tcp_connections",
            "gauge",
            TCP,
            "TCP connections that have begun and not ended.",
            each(lambda s: s.in_flight),
        ),
        Family(
            "meshctl_tcp_connect_seconds",
            "histogram",
            TCP,
            "Time until the endpoint was connected to.",
            each(lambda s: s.headers_s),
            unit="seconds",
        ),
        Family(
            "meshctl_tcp_connection_seconds",
            "histogram",
            TCP,
            "Time to the end of the TCP connection.",
            each(lambda s: s.end_s),
            unit="seconds",
        ),
        Family(
            "meshctl_tcp_bytes",
            "counter",
            DIRECTED,
            "Bytes received on TCP connections that ended.",
            lambda: _bytes(connections),
            unit="bytes",
        ),
    ]


def _closes(connections: Mapping[Labels, CallStats]) -> Iterator[tuple[Labels, Value]]:
    for (authority, cluster, endpoint, pod), stats in connections.items():
        for classification, _, _, flag, count in stats.responses():
            yield (authority, classification, cluster, endpoint, flag, pod), count


def _bytes(connections: Mapping[Labels, CallStats]) -> Iterator[tuple[Labels, Value]]:
    for (authority, cluster, endpoint, pod), stats in connections.items():
        yield (authority, cluster, "request", endpoint, pod), stats.request_bytes
        yield (authority, cluster, "response", endpoint, pod), stats.response_bytes
