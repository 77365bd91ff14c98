from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from proxy.dataplane.bytequeue cimport ByteQueue
from proxy.dataplane.cluster cimport Cluster, Waiter
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport Classification, Flag
from proxy.dataplane.headers cimport HeaderBlock
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.route cimport Route, Router
from proxy.dataplane.session cimport Session
from proxy.dataplane.stats cimport CallStats


cdef struct Body:
    # One direction of a call.
    ByteQueue queue
    bint eof                    # the sender has ended
    bint deferred               # the receiver's stream waits for more
    int64_t expected            # content-length still to come; -1: not announced
    uint64_t total              # bytes received
    uint64_t messages           # gRPC messages begun
    uint8_t prefix              # bytes of a message's 5-byte prefix seen
    uint32_t left               # bytes of the current message (or, while the prefix is read, of its length) to come


cdef class Call(Waiter):
    cdef DataPlane plane
    cdef Router router
    cdef Session down           # None once the downstream stream is closed
    cdef int32_t down_id
    cdef Session up             # the attempt under way; None between attempts and after the last
    cdef int32_t up_id
    cdef Endpoint endpoint      # of the last attempt
    cdef Cluster cluster
    cdef Route route
    cdef CallStats stats
    cdef HeaderBlock request            # until committed
    cdef HeaderBlock request_trailers, response_trailers
    cdef Body request_body, response_body
    cdef str listener
    cdef double started, started_unix, headers_at, attempt_at, deadline
    cdef bint is_grpc, is_head, counted
    cdef bint sent              # the attempt's HEADERS left the proxy
    cdef bint request_sent      # its END_STREAM too
    cdef bint up_closed         # its stream is closed already
    cdef bint committed         # response headers went downstream, or a reply of our own
    cdef bint headers_sent      # response headers left the proxy
    cdef bint response_sent     # END_STREAM went downstream
    cdef bint observed          # the endpoint's average has its sample of this attempt
    cdef bint own_trailers      # the proxy ends the stream, with trailers of its own
    cdef bint reset_due         # relay `reset_code` when what is queued has gone
    cdef uint32_t reset_code
    cdef bint refused           # has been retried after a refusal
    cdef bint finished
    cdef int attempts
    cdef int interims           # 1xx responses seen
    cdef Classification classification
    cdef int http_status, grpc_status
    cdef Flag flag
    cdef bytes why

    cdef int begin(self, bint end_stream) except -1
    cdef int attempt(self, Endpoint exclude) except -1
    cdef int submit(self, Session session) except -1
    cdef int retry(self, bint free) except -1
    cdef int end_attempt(self, uint32_t code, bint reset) except -1
    cdef int response(self, HeaderBlock block, bint end_stream) except -1
    cdef int request_trailer(self, HeaderBlock block) except -1
    cdef int upstream_ended(self) except -1
    cdef int upstream_reset(self, uint32_t code) except -1
    cdef int fail(self, Flag flag, bytes why) except -1
    cdef int reset_downstream(self, uint32_t code) except -1
    cdef int reply(self) except -1
    cdef int submit_trailers(self, HeaderBlock block) except -1
    cdef int downstream_gone(self, uint32_t code) except -1
    cdef int judge(self) except -1
    cdef void observe(self, bint failed, double at) noexcept
    cdef int finish(self) except -1


cdef Call new_call(Router router, Session down, int32_t down_id, HeaderBlock request, str listener)
