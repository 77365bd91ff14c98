"""What the endpoint service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Families whose names begin with `meshctl_endpoints_`, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def named(name: str) -> str:
            return f"meshctl_endpoints_{name}"

        self.streams = Gauge(named("streams"), "Sidecars' streams that are open.", registry=registry)
        self.subscriptions = Gauge(named("subscriptions"), "Names that open streams want.", registry=registry)
        self.responses = Counter(named("responses"), "Responses sent.", registry=registry)
        self.response_bytes = Counter(named("response_bytes"), "Bytes of responses sent.", registry=registry)
        self.nacks = Counter(named("nacks"), "Responses that a sidecar refused.", registry=registry)
        self.stale = Counter(
            named("stale_requests"), "Requests not answered: a newer response was on its way.", registry=registry
        )
        self.ended = Counter(
            named("streams_ended"), "Streams ended by the controller, by reason.", ("reason",), registry=registry
        )
        self.change = Histogram(
            named("change_seconds"),
            "From a change in the catalog until gRPC has sent it to a stream.",
            buckets=BUCKETS_S,
            registry=registry,
        )
