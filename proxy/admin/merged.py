"""The sum of call statistics that carry the same labels.

A pod that is replaced under its own name and address is a new endpoint to the balancer, and is counted apart from its
predecessor; so is every original destination that could not be reached. To Prometheus those are one series, and two
samples of one series spoil a scrape.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from proxy.admin.family import Labels
from proxy.admin.source import CallStats, Histogram


def by_labels(stats: Iterable[CallStats], labels_of: Callable[[CallStats], Labels]) -> dict[Labels, CallStats]:
    """One CallStats for each value of `labels_of`: those that share one are added up."""
    calls: dict[Labels, CallStats] = {}
    for each in stats:
        labels = labels_of(each)
        same = calls.get(labels)
        if same is None:
            calls[labels] = each
        elif isinstance(same, MergedStats):
            same.parts.append(each)
        else:
            calls[labels] = MergedStats([same, each])
    return calls


@dataclass(frozen=True, slots=True)
class MergedHistogram:
    """Not cumulative; `sum` in seconds."""

    counts: list[int]
    sum: float


@dataclass(frozen=True, slots=True)
class MergedStats:
    """`CallStats` that adds up `parts` whenever it is asked; what cannot be added is that of the first."""

    parts: list[CallStats]

    @property
    def authority(self) -> str:
        return self.parts[0].authority

    @property
    def cluster(self) -> str:
        return self.parts[0].cluster

    @property
    def protocol(self) -> str:
        return self.parts[0].protocol

    @property
    def endpoint(self) -> str:
        return self.parts[0].endpoint

    @property
    def pod(self) -> str:
        return self.parts[0].pod

    @property
    def method(self) -> str:
        return self.parts[0].method

    @property
    def started(self) -> int:
        return sum(part.started for part in self.parts)

    @property
    def in_flight(self) -> int:
        return sum(part.in_flight for part in self.parts)

    @property
    def headers_s(self) -> Histogram:
        return _merged([part.headers_s for part in self.parts])

    @property
    def end_s(self) -> Histogram:
        return _merged([part.end_s for part in self.parts])

    @property
    def request_messages(self) -> int:
        return sum(part.request_messages for part in self.parts)

    @property
    def request_bytes(self) -> int:
        return sum(part.request_bytes for part in self.parts)

    @property
    def response_messages(self) -> int:
        return sum(part.response_messages for part in self.parts)

    @property
    def response_bytes(self) -> int:
        return sum(part.response_bytes for part in self.parts)

    def responses(self) -> list[tuple[str, int, int, str, int]]:
        counts: Counter[tuple[str, int, int, str]] = Counter()
        for part in self.parts:
            for classification, http_status, grpc_status, flag, count in part.responses():
                counts[classification, http_status, grpc_status, flag] += count
        return [(*outcome, count) for outcome, count in counts.items()]


def _merged(histograms: list[Histogram]) -> MergedHistogram:
    counts = [sum(same) for same in zip(*(histogram.counts for histogram in histograms), strict=True)]
    return MergedHistogram(counts, sum(histogram.sum for histogram in histograms))
