"""The proxy's metrics as objects of `prometheus_client`, which then says in its own way what the text has to say."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from proxy.admin.family import Family
from proxy.admin.metrics import PlaneCollector, bucket_bounds


class Objects(Collector):
    """For a registry."""

    def __init__(self, collector: PlaneCollector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        for family in self._collector.families():
            if family.kind == "histogram":
                yield _histogram(family, bucket_bounds(self._collector.buckets_s))
            elif family.kind == "info":
                yield _info(family)
            else:
                yield _simple(family)


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
