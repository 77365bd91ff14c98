"""docs/metrics.md says what the proxy serves: names, types, labels, buckets, flags and reasons, in both directions."""

import re
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proxy.admin.exposition import Exposition
from proxy.admin.metrics import Build, PlaneCollector
from proxy.dataplane import BUCKETS_S, FLAGS
from proxy.net.detection import Kind
from tests.unit.fake_plane import Discovery, Histogram, busy_intakes, busy_plane

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram|info) \|([^|]*)\|([^|]*)\|$", re.MULTILINE)
LABEL_ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|$", re.MULTILINE)
NAME = re.compile(r"\bmeshctl_\w+")
SUFFIXES = {"counter": "_total", "info": "_info"}

Described = dict[str, tuple[str, set[str]]]


@pytest.fixture(scope="module")
def families() -> list[Metric]:
    """What a proxy with the data plane's own buckets serves."""
    plane = busy_plane()
    for stats in plane.stats:
        stats.headers_s = stats.end_s = Histogram([1] * (len(BUCKETS_S) + 1), 1.0)
    collector = PlaneCollector(plane, busy_intakes(), BUCKETS_S, Build("1", "1"), Discovery())
    return list(
        text_string_to_metric_families("".join(Exposition(collector).scrape("application/openmetrics-text").text))
    )


def name_of(family: Metric) -> str:
    return family.name + SUFFIXES.get(family.type, "")


def test_every_metric_is_described_and_every_description_has_its_metric(families):
    served: Described = {
        name_of(family): (family.type, {name for sample in family.samples for name in sample.labels} - {"le"})
        for family in families
    }
    described: Described = {
        name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in ROW.findall(DOCUMENT)
    }
    assert described == served


def test_every_metric_is_described_once_and_says_something():
    rows = ROW.findall(DOCUMENT)
    assert len({name for name, *_ in rows}) == len(rows)
    assert all(meaning.strip().endswith(".") for *_, meaning in rows)


def test_every_label_of_calls_is_explained(families):
    labels = {
        label
        for family in families
        for sample in family.samples
        if {"authority", "method"} <= sample.labels.keys()
        for label in sample.labels
    }
    assert {name for name, _ in LABEL_ROW.findall(DOCUMENT)} == labels - {"le"}


def test_every_flag_is_listed():
    (flags,) = (meaning for name, meaning in LABEL_ROW.findall(DOCUMENT) if name == "flag")
    assert set(re.findall(r"`(\w+)`", flags)) == set(FLAGS) - {""}


def test_the_buckets_are_those_of_the_data_plane():
    (milliseconds, seconds) = re.findall(
        r"upper bounds ([\d., and]+) ms and ([\d., and\n]+) s\.", DOCUMENT.replace("\n", " ")
    )[0]
    bounds_s = [float(bound) / 1000 for bound in re.findall(r"[\d.]+", milliseconds)]
    bounds_s += [float(bound) for bound in re.findall(r"[\d.]+", seconds)]
    assert bounds_s == pytest.approx(list(BUCKETS_S))


def test_queries_name_what_is_there(families):
    samples = {sample.name for family in families for sample in family.samples}
    used = set(NAME.findall(DOCUMENT))
    assert used <= samples | {name_of(family) for family in families}


def test_every_reason_for_a_cut_is_listed():
    reasons = {
        reason
        for source in (ROOT / "proxy" / "dataplane").glob("*.pyx")
        for reason in re.findall(r'(?:\.cut\(|offence = )"(\w+)"', source.read_text())
    }
    (listed,) = (meaning for name, _, _, meaning in ROW.findall(DOCUMENT) if name == "meshctl_downstream_cuts_total")
    assert set(re.findall(r"`(\w+)`", listed)) == reasons


def test_what_a_listener_finds_and_why_it_refuses_is_listed():
    meanings = {name: meaning for name, _, _, meaning in ROW.findall(DOCUMENT)}
    found = re.findall(r"`(\w+)`", meanings["meshctl_detected_connections_total"])
    assert set(found) == {*Kind, "none"}
    refused = re.findall(r"`(\w+)` \(", meanings["meshctl_refused_connections_total"])
    reasons = re.findall(r'_refuse\("(\w+)"', (ROOT / "proxy" / "net" / "intake.py").read_text())
    assert sorted(refused) == sorted(reasons)
