"""A scrape of a plane, read as Prometheus would read it."""

from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.admin.exposition import Exposition
from proxy.admin.metrics import Build, PlaneCollector
from proxy.admin.source import Intake
from proxy.admin.source import Plane as PlaneSource
from tests.unit.fake_plane import BUCKETS_S

PLAIN = ""
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.2"
BUILD = Build(version="1.2.3", nghttp2="1.52.0")


def collector_of(plane: PlaneSource, intakes: Mapping[str, Intake] | None = None) -> PlaneCollector:
    return PlaneCollector(plane, intakes or {}, BUCKETS_S, BUILD)


def scraped(plane: PlaneSource, accept: str = PLAIN, intakes: Mapping[str, Intake] | None = None) -> dict[str, Metric]:
    """The families of one scrape by name."""
    text = "".join(Exposition(collector_of(plane, intakes)).scrape(accept).text)
    parse = parse_openmetrics if accept else parse_text
    families = list(parse(text))
    assert len({family.name for family in families}) == len(families), "a family is written in two places"
    return {family.name: family for family in families}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    """The one sample of that name with all of `labels`."""
    found = [
        candidate.value
        for family in families.values()
        for candidate in family.samples
        if candidate.name == sample and labels.items() <= candidate.labels.items()
    ]
    assert len(found) == 1, f"{len(found)} samples of {sample} with {labels}"
    return found[0]
