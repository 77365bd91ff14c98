"""The text that Prometheus reads, written in small pieces.

`prometheus_client` makes one object per sample and all of the text in one go. A sidecar with a thousand
endpoints has over a hundred thousand samples: more than a second during which no call moves, and tens of
megabytes. This module writes the same text row by row, straight from the collector's families, so that the
caller can let calls run in between. `prometheus_client` still says which of two formats the scraper gets,
and writes what it collects itself: the process's CPU, memory and file descriptors.

Formats: Prometheus text 0.0.4 and OpenMetrics 1.0.0. It knows nothing of HTTP beyond the Accept header's
value.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.exposition import generate_latest as text_of
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_1_0_0
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of

from proxy.admin.family import Family, Labels
from proxy.admin.metrics import PlaneCollector, bucket_bounds
from proxy.admin.source import Histogram

Heads = dict[Labels, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What answers one scrape. `text` reads the numbers as it is iterated; each step is short."""

    content_type: str
    text: Iterator[str]


class Exposition:
    """Writes what `collector` and the process have to say."""

    def __init__(self, collector: PlaneCollector) -> None:
        self._collector = collector
        self._bounds = [f'le="{bound}"' for bound in bucket_bounds(collector.buckets_s)]
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def scrape(self, accept: str) -> Scrape:
        """Answers a scraper that sent `accept` (the Accept header's value, "" for none)."""
        openmetrics = _prefers_openmetrics(accept)
        content_type = OPENMETRICS_1_0_0 if openmetrics else CONTENT_TYPE_PLAIN_0_0_4
        return Scrape(content_type, self._text(openmetrics))

    def _text(self, openmetrics: bool) -> Iterator[str]:
        heads: dict[Labels, Heads] = {}
        for family in self._collector.families():
            yield _description(family, openmetrics)
            if family.kind == "histogram":
                yield from self._histograms(family, heads.setdefault(family.labels, {}))
            else:
                yield from _values(family)
        if openmetrics:
            yield openmetrics_of(self._process).decode()  # type: ignore[no-untyped-call]
        else:
            yield text_of(self._process).decode()

    def _histograms(self, family: Family, heads: Heads) -> Iterator[str]:
        # `le` goes to its place in the alphabet, as prometheus_client writes it. Several families have the
        # same labels, so what stands before and after `le` is made once a scrape for all of them.
        place = sum(label < "le" for label in family.labels)
        for labels, histogram in family.rows():
            assert not isinstance(histogram, (int, float))
            parts = heads.get(labels)
            if parts is None:
                head = _labels(family.labels[:place], labels[:place])
                tail = _labels(family.labels[place:], labels[place:])
                parts = heads[labels] = (f"{head}," if head else "", f",{tail}" if tail else "")
            yield self._histogram(family.name, parts, histogram)

    def _histogram(self, name: str, parts: tuple[str, str], histogram: Histogram) -> str:
        head, tail = parts
        bucket = f"{name}_bucket{{{head}"
        counts = list(accumulate(histogram.counts))
        lines = [f"{bucket}{bound}{tail}}} {count}\n" for bound, count in zip(self._bounds, counts, strict=True)]
        labels = f"{head[:-1]}{tail}" if head else tail[1:]
        lines.append(f"{name}_count{{{labels}}} {counts[-1]}\n")
        lines.append(f"{name}_sum{{{labels}}} {_number(histogram.sum)}\n")
        return "".join(lines)


def _prefers_openmetrics(accept: str) -> bool:
    try:
        _, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        return False
    return content_type.startswith("application/openmetrics-text")


def _description(family: Family, openmetrics: bool) -> str:
    # OpenMetrics describes the family, the older format the samples, and it has no type "info".
    if not openmetrics:
        kind = "gauge" if family.kind == "info" else family.kind
        return f"# HELP {family.sample_name} {family.help}\n# TYPE {family.sample_name} {kind}\n"
    unit = f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
    return f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n{unit}"


def _values(family: Family) -> Iterator[str]:
    name = family.sample_name
    for labels, value in family.rows():
        assert isinstance(value, (int, float))
        text = f"{{{_labels(family.labels, labels)}}}" if labels else ""
        yield f"{name}{text} {_number(value)}\n"


def _labels(names: Labels, values: Labels) -> str:
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
