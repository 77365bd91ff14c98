"""From what the web front counts to what the table shows: rates, shares and percentiles per pod.

Pure functions over two snapshots of counters that only grow. Knows nothing of processes, HTTP or terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

ALL_PODS = "all"
NO_POD = "(no pod)"


@dataclass(frozen=True, slots=True)
class PodCounts:
    """Votes of one pod since the web front started; `latency_counts` has one bucket more than bounds."""

    accepted: int
    refused: int
    failed: int
    latency_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The web front's counters at one moment.

    `at_s` is a monotonic time in seconds; `failures` counts failed calls to any service, by their text.
    """

    at_s: float
    buckets_ms: tuple[float, ...]
    pods: Mapping[str, PodCounts]
    failures: Mapping[str, int]

    @classmethod
    def parse(cls, at_s: float, stats: Mapping[str, Any]) -> Snapshot:
        """Build a snapshot from the JSON of /stats."""
        pods = {
            pod or NO_POD: PodCounts(
                counts["accepted"], counts["refused"], counts["failed"], tuple(counts["latency_counts"])
            )
            for pod, counts in stats["pods"].items()
        }
        return cls(at_s, tuple(stats["buckets_ms"]), pods, dict(stats["failures"]))

    @property
    def failed_calls(self) -> int:
        """Calls to any service that failed and were not meant to."""
        return sum(self.failures.values())


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of the table. `share` and `success` are 0 to 1; what cannot be told without calls is None.

    `refused` are the votes that fail on purpose; `failed` are the others that failed, and in the row of all
    pods every failed call, also those to other services.
    """

    pod: str
    calls: int
    calls_per_s: float
    share: float
    success: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    refused: int
    failed: int


def figures_between(before: Snapshot, after: Snapshot, pods: Iterable[str]) -> list[Figures]:
    """Return a row for each of `pods` and for any other that had calls; the last row is all of them."""
    grown = {pod: _grown(before.pods.get(pod), counts) for pod, counts in after.pods.items()}
    names = [*pods]
    names += [pod for pod, counts in grown.items() if pod not in names and _calls(counts)]
    rows = {pod: grown.get(pod, PodCounts(0, 0, 0, ())) for pod in names}
    total = PodCounts(
        sum(counts.accepted for counts in rows.values()),
        sum(counts.refused for counts in rows.values()),
        sum(counts.failed for counts in rows.values()),
        tuple(map(sum, zip(*(row.latency_counts for row in rows.values() if row.latency_counts), strict=True))),
    )
    elapsed_s = after.at_s - before.at_s
    figures = [
        _figures(pod, counts, _calls(total), elapsed_s, after.buckets_ms)
        for pod, counts in [*rows.items(), (ALL_PODS, total)]
    ]
    figures[-1] = replace(figures[-1], failed=after.failed_calls - before.failed_calls)
    return figures


def percentile_ms(quantile: float, latency_counts: tuple[int, ...], buckets_ms: tuple[float, ...]) -> float | None:
    """Return the time that the fraction `quantile` of the calls did not exceed, interpolated in its bucket.

    None without calls. In the last, open bucket it is the highest bound.
    """
    rank = quantile * sum(latency_counts)
    if rank == 0:
        return None
    below = 0
    for index, count in enumerate(latency_counts):
        if below + count >= rank and index < len(buckets_ms):
            lower_ms = buckets_ms[index - 1] if index else 0.0
            return lower_ms + (buckets_ms[index] - lower_ms) * (rank - below) / count
        below += count
    return buckets_ms[-1]


def _calls(counts: PodCounts) -> int:
    return counts.accepted + counts.refused + counts.failed


def _grown(before: PodCounts | None, after: PodCounts) -> PodCounts:
    if before is None:
        return after
    return PodCounts(
        after.accepted - before.accepted,
        after.refused - before.refused,
        after.failed - before.failed,
        tuple(new - old for new, old in zip(after.latency_counts, before.latency_counts, strict=True)),
    )


def _figures(pod: str, counts: PodCounts, all_calls: int, elapsed_s: float, buckets_ms: tuple[float, ...]) -> Figures:
    calls = _calls(counts)
    p50_ms, p95_ms, p99_ms = (
        percentile_ms(quantile, counts.latency_counts, buckets_ms) for quantile in (0.5, 0.95, 0.99)
    )
    return Figures(
        pod=pod,
        calls=calls,
        calls_per_s=calls / elapsed_s if elapsed_s > 0 else 0.0,
        share=calls / all_calls if all_calls else 0.0,
        success=counts.accepted / calls if calls else None,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        refused=counts.refused,
        failed=counts.failed,
    )
