"""docs/controller.md says of every metric what the code does."""

import re

from prometheus_client import CollectorRegistry

from injector.events import SURPRISING
from injector.metrics import Metrics
from tests.support.process import ROOT

DOCUMENT = (ROOT / "docs" / "controller.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram|info) \|([^|]*)\|([^|]*)\|$", re.MULTILINE)
SUFFIXES = {"counter": "_total", "info": "_info"}


def test_every_metric_is_described_with_its_type_and_labels() -> None:
    registry = CollectorRegistry()
    collectors = vars(Metrics(registry)).values()
    served = {}
    for each in collectors:
        (family,) = each.describe()
        served[family.name + SUFFIXES.get(family.type, "")] = (family.type, set(each._labelnames))
    described = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in ROW.findall(DOCUMENT)}
    assert described.pop("meshctl_controller_info") == ("info", {"version"})
    assert described == served


def test_every_reason_that_is_told_is_listed() -> None:
    rows = re.findall(r"^\| `NotInjected`.*$", DOCUMENT, re.MULTILINE)
    told = {word for row in rows for word in re.findall(r"`(\w+)`", row)} - {"NotInjected"}
    assert told == set(SURPRISING)
