"""What the web front measured of its calls to the voting service, per pod.

Counts only grow; a reader takes two snapshots and subtracts. Times go into buckets that are 10 % apart, so
a percentile read from them is at most 10 % off. Knows neither gRPC nor HTTP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from enum import StrEnum

# Upper bounds of the buckets in milliseconds, 0.1 ms to about 10 s; one more bucket takes what is above.
BUCKETS_MS = tuple(round(0.1 * 1.1**power, 4) for power in range(122))


class Outcome(StrEnum):
    """How a vote ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # by the voting service, on purpose
    FAILED = "failed"


class _PodStats:
    __slots__ = ("latency_counts", "outcomes")

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.latency_counts = [0] * (len(BUCKETS_MS) + 1)


class CallStats:
    """Outcomes and latencies of votes per pod, and the text of the failures."""

    def __init__(self) -> None:
        self._pods: defaultdict[str, _PodStats] = defaultdict(_PodStats)
        self._failures: Counter[str] = Counter()

    def record(self, pod: str, outcome: Outcome, took_s: float) -> None:
        """Count one vote; `pod` is empty when no pod has answered."""
        stats = self._pods[pod]
        stats.outcomes[outcome] += 1
        stats.latency_counts[bisect_left(BUCKETS_MS, took_s * 1000)] += 1

    def record_failure(self, text: str) -> None:
        """Count one call, to any service, that failed and was not meant to."""
        # Texts differ by port or time; a page of them is enough to see what is wrong.
        self._failures[text if text in self._failures or len(self._failures) < 100 else "other"] += 1

    def snapshot(self) -> dict[str, object]:
        """Return everything counted so far, as JSON types."""
        return {
            "buckets_ms": BUCKETS_MS,
            "pods": {
                pod: {
                    **{outcome.value: stats.outcomes[outcome] for outcome in Outcome},
                    "latency_counts": stats.latency_counts,
                }
                for pod, stats in self._pods.items()
            },
            "failures": self._failures,
        }
