"""The text that Prometheus reads, written in small pieces.

`prometheus_client` makes one object per sample and all of the text in one go. A sidecar with a thousand
endpoints has over a hundred thousand samples: more than a second during which no call moves, and tens of
megabytes; and importing it costs every sidecar 4 MB. This module writes the same text row by row, straight from the
collector's families, so that the caller can let calls run in between. Tests compare the two.

Formats: Prometheus text 0.0.4 and OpenMetrics 1.0.0; the scraper gets the latter if it asks for it. It knows nothing of
HTTP beyond the Accept header's value.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from proxy.admin.family import Family, Labels
from proxy.admin.metrics import PlaneCollector, bucket_bounds
from proxy.admin.source import Histogram

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Heads = dict[Labels, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What answers one scrape. `text` reads the numbers as it is iterated; each step is short."""

    content_type: str
    text: Iterator[str]


class Exposition:
    """Writes what `collector` has to say."""

    def __init__(self, collector: PlaneCollector) -> None:
        self._collector = collector
        self._bounds = [f'le="{bound}"' for bound in bucket_bounds(collector.buckets_s)]

    def scrape(self, accept: str) -> Scrape:
        """Answers a scraper that sent `accept` (the Accept header's value, "" for none)."""
        openmetrics = _prefers_openmetrics(accept)
        content_type = OPENMETRICS if openmetrics else PLAIN
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
            yield "# EOF\n"

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
    """Whether the Accept header names a version of OpenMetrics that is written here, or none in particular."""
    for offer in accept.split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        versions = [value for name, _, value in (each.partition("=") for each in parameters) if name == "version"]
        if kind == "application/openmetrics-text" and (not versions or versions[0] in ("0.0.1", "1.0.0")):
            return True
    return False


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
