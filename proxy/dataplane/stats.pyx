"""What is counted per cluster, endpoint, authority and gRPC method. Plain C integers; no Python object per call.

proxy/admin/metrics.py reads these numbers at scrape time.
"""

from libc.stdint cimport int64_t

from proxy.dataplane.failure import CLASSIFICATIONS, FLAGS

from proxy.dataplane.failure cimport Classification, Flag

# Upper bounds in seconds: 0.25 ms to 60 s (semantics ask for no finer).
cdef double[20] BOUNDS
BOUNDS[:] = [0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0,
             3.0, 10.0, 30.0, 60.0]
BUCKETS_S = tuple(BOUNDS)


cdef void observe(Times *times, double seconds) noexcept nogil:
    cdef int i = 0
    while i < N_BUCKETS and seconds > BOUNDS[i]:
        i += 1
    times.counts[i] += 1
    times.total += seconds


class Histogram:
    """A copy of a histogram: `counts` per bucket (not cumulative, the last is +Inf) and `sum` in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self, counts, total):
        self.counts = counts
        self.sum = total


cdef object histogram(Times *times):
    return Histogram([times.counts[i] for i in range(N_BUCKETS + 1)], times.total)


cdef class Labels:
    def __init__(self, str authority, str method):
        self.authority = authority
        self.method = method


cdef class CallStats:
    def __cinit__(self):
        self.outcomes = {}
        self.last_key = -1

    @property
    def authority(self):
        return self.labels.authority

    @property
    def method(self):
        return self.labels.method

    @property
    def in_flight(self):
        return self.started - self.ended

    @property
    def headers_s(self):
        return histogram(&self.headers_times)

    @property
    def end_s(self):
        return histogram(&self.end_times)

    cdef void end(self, Classification classification, int http_status, int grpc_status, Flag flag) noexcept:
        # Nearly every call ends as the one before it did: count those without a dictionary.
        cdef int64_t key = (<int64_t> (grpc_status + 1) * 1000 + http_status) * 16 + <int> flag
        key = key * 4 + <int> classification
        self.ended += 1
        if key != self.last_key:
            self.settle()
            self.last_key = key
        self.last_count += 1

    cdef void settle(self):
        if self.last_count:
            self.outcomes[self.last_key] = self.outcomes.get(self.last_key, 0) + self.last_count
            self.last_count = 0

    def responses(self):
        """(classification, http_status, grpc_status or -1, flag, count) for each outcome seen."""
        self.settle()
        found = []
        for key, count in self.outcomes.items():
            key, classification = divmod(key, 4)
            key, flag = divmod(key, 16)
            grpc_status, http_status = divmod(key, 1000)
            found.append((CLASSIFICATIONS[classification], http_status, grpc_status - 1, FLAGS[flag], count))
        return found


cdef CallStats stats_for(dict table, Labels labels, object cluster, str endpoint, str pod):
    """The CallStats of these labels in an endpoint's (or a cluster's own) table, made when first asked for.

    `cluster` has a name and a protocol.
    """
    cdef CallStats stats = <CallStats> table.get(labels)
    if stats is None:
        stats = CallStats.__new__(CallStats)
        stats.labels = labels
        stats.cluster = cluster.name
        stats.protocol = cluster.protocol
        stats.endpoint = endpoint
        stats.pod = pod
        table[labels] = stats
    return stats
