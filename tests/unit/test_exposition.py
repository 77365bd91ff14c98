"""The text of a scrape says what prometheus_client would say, whatever is in the labels, and comes in small parts."""

import math
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.admin.exposition import Exposition
from tests.unit.fake_plane import CallStats, Cluster, Endpoint, Plane, busy_intakes, busy_plane
from tests.unit.objects import Objects
from tests.unit.scrape import OPENMETRICS, PLAIN, collector_of, scraped, value


def own(families: Iterable[Metric]) -> list[tuple[object, ...]]:
    return [(f.name, f.documentation, f.type, f.samples) for f in families if f.name.startswith("meshctl")]


@pytest.mark.parametrize(("accept", "parse"), [(PLAIN, parse_text), (OPENMETRICS, parse_openmetrics)])
@pytest.mark.parametrize(("plane", "intakes"), [(Plane(), {}), (busy_plane(), busy_intakes())], ids=["empty", "busy"])
def test_the_text_says_what_prometheus_client_would_say(plane, intakes, accept, parse):
    registry = CollectorRegistry()
    registry.register(Objects(collector_of(plane, intakes)))
    encoder, _ = choose_encoder(accept)
    assert own(scraped(plane, accept, intakes).values()) == own(parse(encoder(registry).decode()))


@pytest.mark.parametrize("accept", [PLAIN, OPENMETRICS])
def test_what_a_peer_sent_cannot_break_out_of_its_label(accept):
    authority = 'a"} 1\nmeshctl_request_total{x="\\'
    families = scraped(Plane(stats=[CallStats(authority=authority, started=3)]), accept)
    assert value(families, "meshctl_request_total", authority=authority) == 3


@pytest.mark.parametrize("ewma_s", [0.0, 5e-324, 1e-5, 1.5, 1e17, math.inf])
@pytest.mark.parametrize("accept", [PLAIN, OPENMETRICS])
def test_numbers_keep_their_value(ewma_s, accept):
    plane = Plane({"voting": Cluster(endpoints=[Endpoint(ewma_s=ewma_s)])})
    assert value(scraped(plane, accept), "meshctl_endpoint_ewma_seconds") == ewma_s


def test_a_number_that_is_none():
    plane = Plane({"voting": Cluster(endpoints=[Endpoint(ewma_s=math.nan)])})
    assert math.isnan(value(scraped(plane), "meshctl_endpoint_ewma_seconds"))


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0;escaping=dots", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        (";;,=,;version", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_scraper_chooses_the_format(accept, content_type):
    scrape = Exposition(collector_of(busy_plane())).scrape(accept)
    assert scrape.content_type == content_type
    assert "".join(scrape.text).endswith("# EOF\n") == ("openmetrics" in content_type)


def test_a_large_scrape_comes_in_small_parts():
    stats = [CallStats(endpoint=f"10.0.{i // 250}.{i % 250}:8080", pod=f"voting-{i}") for i in range(2000)]
    parts = list(Exposition(collector_of(Plane(stats=stats))).scrape(PLAIN).text)
    assert sum(map(len, parts)) > 5_000_000
    assert max(map(len, parts)) < 10_000
