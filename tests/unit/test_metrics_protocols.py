"""HTTP/1.x, TCP and detection in the metrics: each protocol counts for itself, equal labels are one series."""

import math

from tests.unit.fake_plane import CallStats, Cluster, Endpoint, Plane, busy_intakes, busy_plane, histogram
from tests.unit.scrape import scraped, value

TCP_PREFIX = "meshctl_tcp_"


def tcp(**figures: object) -> CallStats:
    return CallStats(**{"protocol": "tcp", "method": "", **figures})  # type: ignore[arg-type]


def test_calls_of_http1_are_told_from_those_of_http2():
    second = CallStats(protocol="http1", started=5, outcomes=[("success", 200, -1, "", 5)], response_bytes=9)
    families = scraped(Plane(stats=[CallStats(started=3, outcomes=[("success", 200, 0, "", 3)]), second]))
    assert value(families, "meshctl_request_total", protocol="http2") == 3
    assert value(families, "meshctl_request_total", protocol="http1") == 5
    assert value(families, "meshctl_response_total", protocol="http1", http_status="200", grpc_status="") == 5
    assert value(families, "meshctl_response_seconds_count", protocol="http1") == 0
    assert value(families, "meshctl_bytes_total", protocol="http1", direction="response") == 9


def test_tcp_connections():
    families = scraped(busy_plane())
    labels = {"authority": "db.example", "cluster": "database", "endpoint": "10.0.0.3:5432", "pod": "database-1"}
    assert value(families, "meshctl_tcp_open_total", **labels) == 6
    assert value(families, "meshctl_tcp_connections", **labels) == 2
    assert value(families, "meshctl_tcp_close_total", classification="success", flag="", **labels) == 3
    assert value(families, "meshctl_tcp_close_total", classification="failure", flag="upstream_lost", **labels) == 1
    assert value(families, "meshctl_tcp_connect_seconds_bucket", le="0.00025", **labels) == 5
    assert value(families, "meshctl_tcp_connect_seconds_count", **labels) == 6
    assert value(families, "meshctl_tcp_connection_seconds_sum", **labels) == 90
    assert value(families, "meshctl_tcp_bytes_total", direction="request", **labels) == 4000
    assert value(families, "meshctl_tcp_bytes_total", direction="response", **labels) == 80_000


def test_tcp_connections_and_calls_do_not_mix():
    samples = [
        (family.name.startswith(TCP_PREFIX), sample.labels["cluster"])
        for family in scraped(busy_plane()).values()
        for sample in family.samples
        if "authority" in sample.labels
    ]
    assert {cluster for is_tcp, cluster in samples if is_tcp} == {"database"}
    assert {cluster for is_tcp, cluster in samples if not is_tcp} == {"voting", "web"}


def test_a_scrape_tells_of_tcp_ends_before_starts():
    names = list(scraped(busy_plane()))
    assert names.index("meshctl_tcp_close") < names.index("meshctl_tcp_open")


def test_an_endpoint_of_two_protocols():
    clusters = {
        "web": Cluster("web", endpoints=[Endpoint(ewma_s=0.1, connections=1)]),
        "web http1": Cluster("web", endpoints=[Endpoint(ewma_s=0.2, connections=7)], pending=4, protocol="http1"),
    }
    families = scraped(Plane(clusters))
    assert value(families, "meshctl_endpoint_ewma_seconds", protocol="http2") == 0.1
    assert value(families, "meshctl_endpoint_ewma_seconds", protocol="http1") == 0.2
    assert value(families, "meshctl_endpoint_connections", protocol="http1") == 7
    assert value(families, "meshctl_cluster_pending", cluster="web", protocol="http1") == 4
    assert value(families, "meshctl_cluster_pending", cluster="web", protocol="http2") == 0


def test_original_destinations_that_share_their_labels_are_one_series():
    """Inbound, destinations on two addresses may lead to one port of the application."""
    application = "127.0.0.1:8080"
    clusters = {
        name: Cluster(
            "inbound",
            endpoints=[Endpoint(application, "", state=state, ewma_s=ewma_s, connections=1, connect_failures=2)],
            pending=pending,
            failfast=failfast,
            updated_at_s=updated_at_s,
            protocol="tcp",
        )
        for name, state, ewma_s, pending, failfast, updated_at_s in [
            ("first", "ready", 0.1, 1, False, 990.0),
            ("second", "draining", 9.0, 2, True, 970.0),
            ("third", "draining", 9.0, 0, False, math.nan),
        ]
    }
    stats = [tcp(cluster="inbound", endpoint=application, pod="", started=n) for n in (1, 2, 4)]
    families = scraped(Plane(clusters, stats))
    assert value(families, "meshctl_tcp_open_total") == 7
    assert value(families, "meshctl_endpoint_ewma_seconds", endpoint=application) == 0.1
    assert value(families, "meshctl_endpoint_connections") == 3
    assert value(families, "meshctl_endpoint_connect_failures_total") == 6
    assert value(families, "meshctl_endpoint_ready") == 1
    assert value(families, "meshctl_cluster_pending") == 3
    assert value(families, "meshctl_cluster_failfast") == 1
    assert value(families, "meshctl_cluster_update_age_seconds") == 30


def test_more_destinations_than_python_can_nest():
    failed = [
        tcp(
            authority="",
            cluster="passthrough",
            endpoint="",
            pod="",
            started=1,
            outcomes=[("failure", 0, -1, "connect_failed", 1)],
            end_s=histogram(1, total=0.5),
        )
        for _ in range(3000)
    ]
    families = scraped(Plane(stats=failed))
    assert value(families, "meshctl_tcp_open_total", cluster="passthrough") == 3000
    assert value(families, "meshctl_tcp_close_total", flag="connect_failed") == 3000
    assert value(families, "meshctl_tcp_connection_seconds_sum", cluster="passthrough") == 1500


def test_detection():
    families = scraped(Plane(), intakes=busy_intakes())
    found = {
        protocol: value(families, "meshctl_detected_connections_total", listener="outbound", protocol=protocol)
        for protocol in ("http2", "http1", "tls", "tcp", "none")
    }
    assert found == {"http2": 7, "http1": 6, "tls": 5, "tcp": 4, "none": 3}
    assert value(families, "meshctl_detection_timeouts_total", listener="outbound") == 2
    assert value(families, "meshctl_detection_timeouts_total", listener="direct") == 0
    assert value(families, "meshctl_refused_connections_total", listener="outbound", reason="direct") == 1
    assert value(families, "meshctl_refused_connections_total", listener="outbound", reason="loop") == 9
    assert len(families["meshctl_detected_connections"].samples) == 5
