"""The metrics as a collector of `prometheus_client`.

Offers the families (see `family`) twice: as the objects that any `prometheus_client` registry takes
(`collect`), and as rows (`families`), from which `exposition` writes `/metrics`, because an object per
sample costs too much at a thousand endpoints. Counts the one thing the data plane does not know,
configuration reloads. It knows nothing of HTTP.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.admin.call_families import call_families
from proxy.admin.endpoint_families import cluster_families, endpoint_families
from proxy.admin.family import Family
from proxy.admin.proxy_families import discovery_families, downstream_families, intake_families
from proxy.admin.source import Discovery, Intake, Plane
from proxy.admin.tcp_families import tcp_families


@dataclass(frozen=True, slots=True)
class Build:
    """What is running. `nghttp2` is the version of the library that was loaded."""

    version: str
    nghttp2: str
    python: str = ".".join(map(str, sys.version_info[:3]))


class PlaneCollector(Collector):
    """Reads the data plane and the listeners' intakes at each scrape.

    `intakes` are by the listener's name; more may come. `buckets_s` are the upper bounds of the data plane's
    histograms, in seconds, rising.
    """

    def __init__(
        self,
        plane: Plane,
        intakes: Mapping[str, Intake],
        buckets_s: Sequence[float],
        build: Build,
        discovery: Discovery | None = None,
    ) -> None:
        self.buckets_s = tuple(map(float, buckets_s))
        self._plane = plane
        self._intakes = intakes
        self._build = build
        self._discovery = discovery
        self._reloads = {"success": 0, "failure": 0}

    def count_reload(self, result: Literal["success", "failure"]) -> None:
        """Counts a changed configuration: applied, or refused."""
        self._reloads[result] += 1

    def families(self) -> list[Family]:
        """The families of one scrape, over the call statistics and endpoints that there are now."""
        build = (self._build.nghttp2, self._build.python, self._build.version)
        stats = self._plane.call_stats()
        return [
            *call_families(each for each in stats if each.protocol != "tcp"),
            *tcp_families(each for each in stats if each.protocol == "tcp"),
            *endpoint_families(self._plane),
            *cluster_families(self._plane),
            *downstream_families(self._plane),
            *intake_families(self._intakes),
            *discovery_families(self._discovery),
            Family(
                "meshctl_config_reloads",
                "counter",
                ("result",),
                "Changed configurations that were read.",
                lambda: [((result,), count) for result, count in self._reloads.items()],
            ),
            Family(
                "meshctl_build",
                "info",
                ("nghttp2", "python", "version"),
                "The running version, and those of Python and libnghttp2.",
                lambda: [(build, 1)],
            ),
        ]

    def collect(self) -> Iterator[Metric]:
        """The same as objects of `prometheus_client`."""
        for family in self.families():
            if family.kind == "histogram":
                yield _histogram(family, bucket_bounds(self.buckets_s))
            elif family.kind == "info":
                yield _info(family)
            else:
                yield _simple(family)


def bucket_bounds(buckets_s: Sequence[float]) -> list[str]:
    """The values of the label `le`: "0.00025" and so on, "+Inf" last."""
    return [*map(repr, buckets_s), "+Inf"]


def _histogram(family: Family, bounds: Sequence[str]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    for labels, value in family.rows():
        assert not isinstance(value, (int, float))
        buckets = list(zip(bounds, accumulate(map(float, value.counts)), strict=True))
        metric.add_metric(labels, buckets, value.sum)
    return metric


def _info(family: Family) -> Metric:
    metric = InfoMetricFamily(family.name, family.help, labels=())
    for labels, _ in family.rows():
        metric.add_metric((), dict(zip(family.labels, labels, strict=True)))
    return metric


def _simple(family: Family) -> Metric:
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.labels, unit=family.unit)
    for labels, value in family.rows():
        assert isinstance(value, (int, float))
        metric.add_metric(labels, value)
    return metric
