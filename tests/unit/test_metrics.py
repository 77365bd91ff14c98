"""The metrics: what is read from the data plane, of calls, endpoints, clusters and the proxy itself."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.admin.exposition import Exposition
from proxy.admin.metrics import PlaneCollector
from proxy.dataplane import BUCKETS_S as REAL_BUCKETS_S
from proxy.dataplane import Cluster as RealCluster
from proxy.dataplane import DataPlane
from proxy.discovery import EndpointAddress
from tests.unit.fake_plane import CallStats, Cluster, Endpoint, Plane, busy_plane, histogram
from tests.unit.scrape import BUILD, PLAIN, collector_of, scraped, value


def test_calls_by_outcome():
    families = scraped(busy_plane())
    assert value(families, "meshctl_request_total", pod="voting-1") == 7
    assert value(families, "meshctl_calls_in_flight", pod="voting-1") == 1
    ended = {"http_status": "200", "pod": "voting-1"}
    assert value(families, "meshctl_response_total", classification="success", grpc_status="0", **ended) == 5
    assert value(families, "meshctl_response_total", grpc_status="14", flag="upstream_lost", **ended) == 1


def test_what_a_call_never_had_is_an_empty_label():
    families = scraped(busy_plane())
    no_status = {"http_status": "", "grpc_status": "", "flag": ""}
    assert value(families, "meshctl_response_total", classification="cancelled", **no_status) == 3
    no_endpoint = {"endpoint": "", "pod": "", "method": "", "grpc_status": ""}
    assert value(families, "meshctl_response_total", http_status="503", **no_endpoint) == 2


def test_histograms_are_cumulative():
    families = scraped(busy_plane())
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["meshctl_response_headers_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["pod"] == "voting-1"
    }
    assert buckets == {"0.00025": 1, "0.001": 3, "0.01": 6, "0.1": 6, "1.0": 6, "60.0": 6, "+Inf": 6}
    assert value(families, "meshctl_response_headers_seconds_count", pod="voting-1") == 6
    assert value(families, "meshctl_response_headers_seconds_sum", pod="voting-1") == 0.0175


def test_a_duration_over_all_buckets_counts_as_infinite():
    families = scraped(busy_plane())
    assert value(families, "meshctl_response_seconds_bucket", pod="voting-2", le="60.0") == 0
    assert value(families, "meshctl_response_seconds_bucket", pod="voting-2", le="+Inf") == 3


def test_messages_and_bytes_each_way():
    families = scraped(busy_plane())
    assert value(families, "meshctl_messages_total", pod="voting-1", direction="request") == 6
    assert value(families, "meshctl_messages_total", pod="voting-1", direction="response") == 5
    assert value(families, "meshctl_bytes_total", pod="voting-1", direction="request") == 600
    assert value(families, "meshctl_bytes_total", pod="voting-1", direction="response") == 5_000_000


def test_endpoints():
    families = scraped(busy_plane())
    assert value(families, "meshctl_endpoint_ready", pod="voting-1") == 1
    assert value(families, "meshctl_endpoint_ready", pod="voting-2") == 0
    assert value(families, "meshctl_endpoint_ewma_seconds", endpoint="10.0.0.2:8080") == 0.5
    assert value(families, "meshctl_endpoint_connections", pod="voting-1") == 1
    assert value(families, "meshctl_endpoint_connect_failures_total", pod="voting-2") == 4


def test_clusters():
    families = scraped(busy_plane())
    assert value(families, "meshctl_cluster_pending", cluster="voting") == 2
    assert value(families, "meshctl_cluster_failfast", cluster="emoji") == 1
    assert value(families, "meshctl_cluster_update_age_seconds", cluster="voting") == 60


def test_a_cluster_that_has_heard_nothing_has_no_age():
    ages = scraped(busy_plane())["meshctl_cluster_update_age_seconds"].samples
    assert [sample.labels["cluster"] for sample in ages] == ["voting"]


def test_the_proxy_itself():
    families = scraped(busy_plane())
    assert value(families, "meshctl_downstream_connections") == 4
    assert value(families, "meshctl_downstream_cuts_total", reason="flood") == 2
    assert value(families, "meshctl_faults_total") == 1
    assert value(families, "meshctl_build_info", version="1.2.3", nghttp2="1.52.0", python=BUILD.python) == 1
    assert value(families, "process_resident_memory_bytes") > 1_000_000
    assert value(families, "process_open_fds") > 0
    assert "process_cpu_seconds" in families


def test_reloads_are_counted_from_zero():
    collector = collector_of(Plane())
    collector.count_reload("failure")
    collector.count_reload("failure")
    families = {f.name: f for f in parse_text("".join(Exposition(collector).scrape(PLAIN).text))}
    assert value(families, "meshctl_config_reloads_total", result="failure") == 2
    assert value(families, "meshctl_config_reloads_total", result="success") == 0


def test_a_pod_that_came_back_under_its_name_and_address_is_one_series():
    old = CallStats(
        started=5,
        in_flight=1,
        outcomes=[("success", 200, 0, "", 3), ("failure", 200, 2, "", 1)],
        end_s=histogram(4, total=1.0),
        headers_s=histogram(4, total=0.5),
        request_messages=4,
        request_bytes=40,
        response_messages=3,
        response_bytes=30,
    )
    new = CallStats(
        started=2,
        outcomes=[("success", 200, 0, "", 2)],
        end_s=histogram(1, 1, total=0.25),
        headers_s=histogram(2, total=0.25),
        request_messages=2,
        request_bytes=20,
        response_messages=2,
        response_bytes=20,
    )
    leaving = Endpoint(uid="a", state="draining", ewma_s=9.0, connections=1, connect_failures=1)
    newcomer = Endpoint(uid="b", state="ready", ewma_s=0.1, connections=2, connect_failures=2)
    cluster = Cluster(endpoints=[newcomer, leaving])
    families = scraped(Plane({"voting": cluster}, stats=[old, new]))
    assert value(families, "meshctl_request_total") == 7
    assert value(families, "meshctl_calls_in_flight") == 1
    assert value(families, "meshctl_response_total", classification="success") == 5
    assert value(families, "meshctl_response_total", classification="failure") == 1
    assert value(families, "meshctl_response_seconds_bucket", le="0.00025") == 5
    assert value(families, "meshctl_response_seconds_sum") == 1.25
    assert value(families, "meshctl_response_headers_seconds_count") == 6
    assert value(families, "meshctl_messages_total", direction="request") == 6
    assert value(families, "meshctl_messages_total", direction="response") == 5
    assert value(families, "meshctl_bytes_total", direction="request") == 60
    assert value(families, "meshctl_bytes_total", direction="response") == 50
    assert value(families, "meshctl_endpoint_ewma_seconds") == 0.1
    assert value(families, "meshctl_endpoint_connections") == 3
    assert value(families, "meshctl_endpoint_connect_failures_total") == 3
    assert value(families, "meshctl_endpoint_ready") == 1


def test_a_scrape_never_shows_more_ends_than_starts():
    stats = CallStats(started=1, outcomes=[("success", 200, 0, "", 1)])
    plane = Plane(stats=[stats])
    seen: dict[str, float] = {}
    for part in Exposition(collector_of(plane)).scrape(PLAIN).text:
        seen.update(
            (sample.name, sample.value)
            for family in parse_text(part)
            for sample in family.samples
            if sample.name in ("meshctl_request_total", "meshctl_response_total")
        )
        # Calls go on while the text is written.
        stats.started += 1
        stats.outcomes = [("success", 200, 0, "", stats.started)]
    assert seen["meshctl_response_total"] <= seen["meshctl_request_total"]


@pytest.mark.asyncio
async def test_the_compiled_data_plane_has_what_is_read():
    plane = DataPlane(asyncio.get_running_loop(), clock=lambda: 50.0)
    cluster = RealCluster(plane, "voting")
    plane.turn(cluster.reset, [EndpointAddress("127.0.0.1", 9, 1, "voting-1", "u")])
    collector = PlaneCollector(plane, {}, REAL_BUCKETS_S, BUILD)
    families = {f.name: f for f in parse_text("".join(Exposition(collector).scrape(PLAIN).text))}
    assert value(families, "meshctl_endpoint_ready", endpoint="127.0.0.1:9", pod="voting-1") == 0
    assert value(families, "meshctl_endpoint_ewma_seconds", cluster="voting") == pytest.approx(0.03)
    assert value(families, "meshctl_cluster_update_age_seconds", cluster="voting") == 0
    assert value(families, "meshctl_cluster_failfast", cluster="voting") == 0
