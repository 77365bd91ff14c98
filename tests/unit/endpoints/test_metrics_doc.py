"""docs/discovery.md names every metric of the endpoint service, and every reason for which it ends a stream."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from injector.endpoints.metrics import Metrics

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "discovery.md").read_text()


def test_every_metric_is_on_the_page_and_no_other() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    assert set(re.findall(r"`(meshctl_endpoints_\w+)", PAGE)) == names


def test_every_reason_for_ending_a_stream_is_on_the_page_and_no_other() -> None:
    row = next(line for line in PAGE.splitlines() if "streams_ended_total" in line)
    sources = "".join(file.read_text() for file in (ROOT / "injector" / "endpoints").glob("*.py"))
    reasons = set(re.findall(r'EndedError\(grpc\.StatusCode\.\w+, "(\w+)"', sources))
    assert set(re.findall(r"`([a-z_]+)`", row)) == reasons
