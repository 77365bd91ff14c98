from libc.stdint cimport uint64_t

from proxy.dataplane.call cimport Call
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport Flag
from proxy.dataplane.http1connection cimport Http1Connection
from proxy.dataplane.http1head cimport MessageHead
from proxy.dataplane.route cimport Origin, Router


cdef class Http1Call(Call):
    cdef Http1Connection down       # None once it has left
    cdef Http1Connection up         # the attempt's connection, once there is one
    cdef MessageHead request
    cdef bint reused                # `up` had served another call before
    cdef bint repeated              # because a kept-alive connection was stale
    cdef bint refused               # has been taken elsewhere after an endpoint's sidecar refused it
    cdef bint committed             # a response's head went downstream
    cdef bint until_close           # only the connection's end ends the response
    cdef bint long_response         # the time to its head is the endpoint's sample
    cdef bint tunnel
    cdef bint answering             # the endpoint has begun to answer
    cdef int interims

    cdef int begin(self) except -1
    cdef int attach(self, Http1Connection up) except -1
    cdef int request_bytes(self, const char *data, size_t n, uint64_t payload) except -1
    cdef int request_end(self) except -1
    cdef int request_broken(self, bytes why) except -1
    cdef bint was_refused(self, MessageHead head) noexcept
    cdef int repeat(self, Flag flag, int status, Endpoint exclude) except -1
    cdef int response_head(self, MessageHead head) except -1
    cdef int response_bytes(self, const char *data, size_t n, uint64_t payload) except -1
    cdef int response_end(self) except -1
    cdef int begin_tunnel(self) except -1
    cdef bint tunnelled_early(self) noexcept
    cdef int tunnel_half_closed(self, Http1Connection side) except -1
    cdef int up_lost(self, bint protocol, str why) except -1
    cdef int down_lost(self) except -1
    cdef int reply(self, int status, bytes text, const char *flag) except -1
    cdef int over(self) except -1


cdef Http1Call new_http1_call(Router router, Origin origin, Http1Connection down, MessageHead request)
