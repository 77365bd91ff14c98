"""A data plane without calls: plain objects with the figures that the admin side reads.

For what cannot be had from a real one at will: every state and label at once, many endpoints, odd numbers.
"""

import math
from dataclasses import dataclass, field

BUCKETS_S = (0.00025, 0.001, 0.01, 0.1, 1.0, 60.0)


@dataclass(slots=True)
class Histogram:
    counts: list[int]
    sum: float


def histogram(*counts: int, total: float = 0.0) -> Histogram:
    """`counts` fall into the first buckets."""
    return Histogram([*counts, *[0] * (len(BUCKETS_S) + 1 - len(counts))], total)


@dataclass(slots=True)
class CallStats:
    authority: str = "voting.example:8080"
    cluster: str = "voting"
    endpoint: str = "10.0.0.1:8080"
    pod: str = "voting-1"
    method: str = "emojivoto.v1.VotingService/Vote"
    protocol: str = "http2"
    started: int = 0
    in_flight: int = 0
    outcomes: list[tuple[str, int, int, str, int]] = field(default_factory=list)
    headers_s: Histogram = field(default_factory=histogram)
    end_s: Histogram = field(default_factory=histogram)
    request_messages: int = 0
    request_bytes: int = 0
    response_messages: int = 0
    response_bytes: int = 0

    def responses(self) -> list[tuple[str, int, int, str, int]]:
        return self.outcomes


@dataclass(slots=True)
class Endpoint:
    address: str = "10.0.0.1:8080"
    pod: str = "voting-1"
    uid: str = "a"
    weight: int = 1
    state: str = "ready"
    ewma_s: float = 0.012
    in_flight: int = 0
    connections: int = 1
    connect_failures: int = 0
    calls: int = 0
    failures: int = 0


@dataclass(slots=True)
class Cluster:
    name: str = "voting"
    balancer: str = "peak_ewma"
    pending: int = 0
    failfast: bool = False
    endpoints: list[Endpoint] = field(default_factory=list)
    updated_at_s: float = math.nan
    protocol: str = "http2"


@dataclass(slots=True)
class Intake:
    found: dict[str, int] = field(default_factory=dict)
    timeouts: int = 0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Plane:
    clusters: dict[str, Cluster] = field(default_factory=dict)
    stats: list[CallStats] = field(default_factory=list)
    downstream_connections: int = 0
    cuts: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    time_s: float = 1000.0
    access_log: list[tuple[object, ...]] | None = None

    def call_stats(self) -> list[CallStats]:
        return self.stats

    def now_s(self) -> float:
        return self.time_s


def busy_plane() -> Plane:
    """A cluster with two pods, called in every way, one that carries TCP, and one that never heard of an endpoint."""
    good = CallStats(
        started=7,
        in_flight=1,
        outcomes=[("success", 200, 0, "", 5), ("failure", 200, 14, "upstream_lost", 1)],
        headers_s=histogram(1, 2, 3, total=0.0175),
        end_s=histogram(0, 2, 3, 1, total=0.25),
        request_messages=6,
        request_bytes=600,
        response_messages=5,
        response_bytes=5_000_000,
    )
    gone = CallStats(
        endpoint="10.0.0.2:8080",
        pod="voting-2",
        started=3,
        outcomes=[("cancelled", 0, -1, "", 3)],
        end_s=histogram(0, 0, 0, 0, 0, 0, 3, total=200.5),
    )
    parked = CallStats(
        endpoint="",
        pod="",
        method="",
        started=2,
        outcomes=[("failure", 503, -1, "no_endpoint", 2)],
        end_s=histogram(2, total=0.0002),
    )
    page = CallStats(
        authority="web.example",
        cluster="web",
        endpoint="10.0.0.4:8080",
        pod="web-1",
        method="",
        protocol="http1",
        started=11,
        outcomes=[("success", 200, -1, "", 10), ("failure", 500, -1, "", 1)],
        headers_s=histogram(11, total=0.001),
        end_s=histogram(11, total=0.002),
        request_bytes=110,
        response_bytes=1100,
    )
    relayed = CallStats(
        authority="db.example",
        cluster="database",
        endpoint="10.0.0.3:5432",
        pod="database-1",
        method="",
        protocol="tcp",
        started=6,
        in_flight=2,
        outcomes=[("success", 0, -1, "", 3), ("failure", 0, -1, "upstream_lost", 1)],
        headers_s=histogram(5, 1, total=0.001),
        end_s=histogram(0, 0, 0, 0, 0, 4, total=90.0),
        request_bytes=4000,
        response_bytes=80_000,
    )
    endpoints = [
        Endpoint(in_flight=1, calls=7, failures=1),
        Endpoint("10.0.0.2:8080", "voting-2", "b", 3, "backoff", 0.5, 0, 0, 4, 3, 0),
    ]
    return Plane(
        clusters={
            "voting": Cluster("voting", endpoints=endpoints, pending=2, updated_at_s=940.0),
            "emoji": Cluster("emoji", "round_robin", failfast=True),
            "web http1": Cluster("web", endpoints=[Endpoint("10.0.0.4:8080", "web-1")], protocol="http1"),
            "database tcp": Cluster(
                "database", endpoints=[Endpoint("10.0.0.3:5432", "database-1", connections=2)], protocol="tcp"
            ),
        },
        stats=[good, gone, parked, page, relayed],
        downstream_connections=4,
        cuts={"flood": 2},
        faults=1,
    )


@dataclass(slots=True)
class Discovery:
    connected: bool = True
    timeouts: int = 2
    unasked: int = 7
    waiting: int = 4

    def counts(self) -> dict[str, int]:
        return {"known": 3, "unknown": 5, "unanswered": 1}


def busy_intakes() -> dict[str, Intake]:
    """A listener that saw every protocol, and one that saw nothing."""
    found = {"http2": 7, "http1": 6, "tls": 5, "tcp": 4, "none": 3}
    return {"outbound": Intake(found, 2, {"direct": 1, "loop": 9}), "direct": Intake()}
