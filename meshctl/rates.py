"""What two samples of a sidecar's metrics say of the time between them: calls a second, success, response times. Pure.

Metrics and labels are those of docs/metrics.md. A counter that fell was begun anew, and counts from 0. Quantiles are
interpolated within a bucket, as Prometheus' histogram_quantile does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

ENDED: Final = "meshctl_response_total"
SECONDS: Final = "meshctl_response_seconds_bucket"
IN_FLIGHT: Final = "meshctl_calls_in_flight"
TCP_ENDED: Final = "meshctl_tcp_close_total"
TCP_OPEN: Final = "meshctl_tcp_connections"
NAMES: Final = (ENDED, SECONDS, IN_FLIGHT, TCP_ENDED, TCP_OPEN)

KEYS: Final = {"cluster": 0, "method": 1, "endpoint": 2}
"""What rows can be told apart by, each with those before it; how many more labels that is."""

Labels = tuple[tuple[str, str], ...]
Sample = Mapping[tuple[str, Labels], float]
"""Values by a metric's name and labels."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a row is about; "" for what was not told apart. `direction` is "inbound" or "outbound"."""

    direction: str
    cluster: str
    protocol: str
    method: str = ""
    endpoint: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Calls (of `tcp`, connections) that ended; times to their end in milliseconds; None where there were none."""

    place: Place
    per_s: float
    success_percent: float | None
    in_flight: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        row = asdict(self)
        return {**row.pop("place"), **row}


def sample(text: str) -> dict[tuple[str, Labels], float]:
    """The values of a page `/metrics` that rows need. Raises ValueError."""
    # Most lines are other metrics, and reading one takes long.
    wanted = "".join(line for line in text.splitlines(keepends=True) if line.startswith(NAMES))
    return {
        (each.name, tuple(sorted(each.labels.items()))): float(each.value)
        for family in text_string_to_metric_families(wanted)
        for each in family.samples
    }


def rows(before: Sample, after: Sample, elapsed_s: float, by: str) -> list[Row]:
    """A row for each place with calls that ended in between or have not ended, the busiest first."""
    counts: dict[Place, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    buckets: dict[Place, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    in_flight: dict[Place, float] = defaultdict(float)
    for (name, labels), value in after.items():
        said = dict(labels)
        place, more = _place(said, by, is_tcp=name.startswith("meshctl_tcp")), _more(before, (name, labels), value)
        if name in (ENDED, TCP_ENDED):
            counts[place][said["classification"]] += more
        elif name == SECONDS:
            buckets[place][float(said["le"])] += more
        else:
            in_flight[place] += value
    found = [
        _row(place, counts[place], buckets[place], int(in_flight[place]), elapsed_s)
        for place in {**counts, **in_flight}
    ]
    busy = [row for row in found if row.per_s or row.in_flight]
    return sorted(busy, key=lambda row: (-row.per_s, str(row.place)))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value below which `share` of what is counted lies; None if nothing is. Bucket counts are cumulative."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return low
            within = buckets[bound] - below
            return low + (bound - low) * ((rank - below) / within if within else 1.0)
        low, below = bound, buckets[bound]
    return low


def _place(labels: Mapping[str, str], by: str, *, is_tcp: bool) -> Place:
    depth = KEYS[by]
    endpoint = (labels["endpoint"], labels["pod"]) if depth >= KEYS["endpoint"] else ("", "")
    return Place(
        "inbound" if labels["cluster"] == "inbound" else "outbound",
        labels["cluster"],
        "tcp" if is_tcp else labels["protocol"],
        labels.get("method", "") if depth >= KEYS["method"] else "",
        *endpoint,
    )


def _more(before: Sample, key: tuple[str, Labels], value: float) -> float:
    was = before.get(key, 0.0)
    return value - was if value >= was else value


def _row(
    place: Place, counts: Mapping[str, float], buckets: Mapping[float, float], in_flight: int, elapsed_s: float
) -> Row:
    ended = sum(count for classification, count in counts.items() if classification != "retried")
    success, failure = counts.get("success", 0.0), counts.get("failure", 0.0)
    times = (quantile(buckets, share) for share in (0.5, 0.95, 0.99))
    return Row(
        place,
        ended / elapsed_s,
        100 * success / (success + failure) if success + failure else None,
        in_flight,
        *(None if time is None else 1000 * time for time in times),
    )


def cells(found: Iterable[Row], by: str) -> tuple[Sequence[str], list[Sequence[object]]]:
    """Heads and cells of a table."""
    depth = KEYS[by]
    heads = ["DIRECTION", "CLUSTER", "PROTOCOL", *["METHOD", "POD"][:depth]]
    lines: list[Sequence[object]] = []
    for row in found:
        place = row.place
        names = [place.direction, place.cluster, place.protocol, *[place.method, place.pod or place.endpoint][:depth]]
        success = None if row.success_percent is None else f"{row.success_percent:.1f}%"
        lines.append([*names, row.per_s, success, row.in_flight, row.p50_ms, row.p95_ms, row.p99_ms])
    return (*heads, "CALLS/S", "SUCCESS", "IN FLIGHT", "P50 MS", "P95 MS", "P99 MS"), lines
