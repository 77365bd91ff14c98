from libc.stdint cimport int32_t, uint32_t

from proxy.dataplane.call cimport Call
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport Flag
from proxy.dataplane.headers cimport HeaderBlock
from proxy.dataplane.route cimport Origin, Router
from proxy.dataplane.session cimport Session


cdef class Http2Call(Call):
    cdef Session down           # None once the downstream stream is closed
    cdef int32_t down_id
    cdef Session up             # the attempt under way; None between attempts and after the last
    cdef int32_t up_id
    cdef HeaderBlock request            # until committed
    cdef HeaderBlock request_trailers, response_trailers
    cdef bint is_grpc, is_head
    cdef bint sent              # the attempt's HEADERS left the proxy
    cdef bint request_sent      # its END_STREAM too
    cdef bint up_closed         # its stream is closed already
    cdef bint committed         # response headers went downstream, or a reply of our own
    cdef bint headers_sent      # response headers left the proxy
    cdef bint response_sent     # END_STREAM went downstream
    cdef bint own_trailers      # the proxy ends the stream, with trailers of its own
    cdef bint reset_due         # relay `reset_code` when what is queued has gone
    cdef uint32_t reset_code
    cdef bint refused           # has been retried after a refusal
    cdef int interims           # 1xx responses seen

    cdef int begin(self, bint end_stream) except -1
    cdef int find_route(self) except -1
    cdef int submit(self, Session session) except -1
    cdef int retry(self, bint free) except -1
    cdef int end_attempt(self, uint32_t code, bint reset) except -1
    cdef int response(self, HeaderBlock block, bint end_stream) except -1
    cdef int request_trailer(self, HeaderBlock block) except -1
    cdef int upstream_ended(self) except -1
    cdef int upstream_reset(self, uint32_t code) except -1
    cdef int reset_downstream(self, uint32_t code) except -1
    cdef bint inbound_refusal(self) noexcept
    cdef int reply(self) except -1
    cdef int submit_trailers(self, HeaderBlock block) except -1
    cdef int downstream_gone(self, uint32_t code) except -1
    cdef int judge(self) except -1


cdef Http2Call new_call(Router router, Session down, int32_t down_id, HeaderBlock request, Origin origin)
