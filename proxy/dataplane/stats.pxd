from libc.stdint cimport int64_t, uint64_t

from proxy.dataplane.failure cimport Classification, Flag

cdef enum:
    N_BUCKETS = 20


cdef struct Times:
    int64_t[21] counts      # N_BUCKETS and one for +Inf
    double total


cdef void observe(Times *times, double seconds) noexcept nogil


cdef class Labels:
    """What a call is counted under besides its endpoint: authority and gRPC method, both bounded in number."""
    cdef readonly str authority
    cdef readonly str method


cdef class CallStats:
    cdef readonly Labels labels
    cdef readonly str cluster, protocol, endpoint, pod
    cdef readonly int64_t started, ended
    cdef readonly uint64_t request_messages, request_bytes, response_messages, response_bytes
    cdef Times headers_times, end_times
    cdef dict outcomes          # packed outcome -> count
    cdef int64_t last_key, last_count

    cdef void end(self, Classification classification, int http_status, int grpc_status, Flag flag) noexcept
    cdef void settle(self)


cdef CallStats stats_for(dict table, Labels labels, object cluster, str endpoint, str pod)
