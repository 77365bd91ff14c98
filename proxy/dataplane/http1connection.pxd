from libc.stdint cimport int64_t, uint8_t, uint64_t

from proxy.dataplane.byteconnection cimport ByteConnection
from proxy.dataplane.bytequeue cimport ByteQueue
from proxy.dataplane.call cimport Call
from proxy.dataplane.chunks cimport ChunkMeter
from proxy.dataplane.http1head cimport BodyKind


cdef enum Phase:
    """What the next byte from the peer belongs to."""
    AT_HEAD
    AT_BODY
    AT_REST             # nothing yet: the next message has to wait
    AT_TUNNEL           # no message: the connection has become a tunnel


cdef class Http1Connection(ByteConnection):
    cdef ByteQueue inbox        # a head that is not whole yet, or what came too early
    cdef size_t scanned         # how far `inbox` was searched for the head's end
    cdef Phase phase
    cdef BodyKind body
    cdef int64_t left           # of a body with content-length
    cdef ChunkMeter chunks
    cdef bint server            # the peer sends requests
    cdef Call call              # the one that runs; None between two
    cdef bint keep              # the connection may be used again after this exchange

    cdef void work(self) noexcept
    cdef size_t consume(self, const char *data, size_t n) except? 0
    cdef size_t consume_body(self, const char *data, size_t n) except? 0
    cdef int begin_body(self, BodyKind body, int64_t length) except -1
    cdef int head(self, const char *data, size_t n) except -1
    cdef int broken(self, const char *why, bint too_large) except -1
    cdef int body_bytes(self, const char *data, size_t n, uint64_t payload) except -1
    cdef int message_end(self) except -1
    cdef void begin_tunnel(self) noexcept
    cdef void next_message(self) noexcept
    cdef int exchange_over(self) except -1
