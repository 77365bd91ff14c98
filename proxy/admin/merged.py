"""The sum of two call statistics that carry the same labels.

A pod that is replaced under its own name and address is a new endpoint to the balancer, and is counted
apart from its predecessor; to Prometheus both are one series, and two samples of one series spoil a scrape.
"""

from collections import Counter
from dataclasses import dataclass

from proxy.admin.source import CallStats, Histogram


@dataclass(frozen=True, slots=True)
class MergedHistogram:
    """Not cumulative; `sum` in seconds."""

    counts: list[int]
    sum: float


@dataclass(frozen=True, slots=True)
class MergedStats:
    """`CallStats` that adds up `first` and `second` whenever it is asked; the labels are those of `first`."""

    first: CallStats
    second: CallStats

    @property
    def authority(self) -> str:
        return self.first.authority

    @property
    def cluster(self) -> str:
        return self.first.cluster

    @property
    def endpoint(self) -> str:
        return self.first.endpoint

    @property
    def pod(self) -> str:
        return self.first.pod

    @property
    def method(self) -> str:
        return self.first.method

    @property
    def started(self) -> int:
        return self.first.started + self.second.started

    @property
    def in_flight(self) -> int:
        return self.first.in_flight + self.second.in_flight

    @property
    def headers_s(self) -> Histogram:
        return _merged(self.first.headers_s, self.second.headers_s)

    @property
    def end_s(self) -> Histogram:
        return _merged(self.first.end_s, self.second.end_s)

    @property
    def request_messages(self) -> int:
        return self.first.request_messages + self.second.request_messages

    @property
    def request_bytes(self) -> int:
        return self.first.request_bytes + self.second.request_bytes

    @property
    def response_messages(self) -> int:
        return self.first.response_messages + self.second.response_messages

    @property
    def response_bytes(self) -> int:
        return self.first.response_bytes + self.second.response_bytes

    def responses(self) -> list[tuple[str, int, int, str, int]]:
        counts: Counter[tuple[str, int, int, str]] = Counter()
        for stats in (self.first, self.second):
            for classification, http_status, grpc_status, flag, count in stats.responses():
                counts[classification, http_status, grpc_status, flag] += count
        return [(*outcome, count) for outcome, count in counts.items()]


def _merged(first: Histogram, second: Histogram) -> MergedHistogram:
    counts = [a + b for a, b in zip(first.counts, second.counts, strict=True)]
    return MergedHistogram(counts, first.sum + second.sum)
