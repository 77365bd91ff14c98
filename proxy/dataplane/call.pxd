from proxy.dataplane.body cimport Body
from proxy.dataplane.cluster cimport Cluster, Waiter
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport Classification, Flag
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.route cimport Origin, Route, Router
from proxy.dataplane.stats cimport CallStats


cdef class Dial:
    cdef readonly Endpoint endpoint
    cdef Call call
    cdef bint is_wanted(self) noexcept


cdef class Call(Waiter):
    cdef DataPlane plane
    cdef Router router
    cdef Origin origin
    cdef Route route            # None until the request's headers were understood
    cdef Cluster cluster
    cdef Endpoint endpoint      # of the last attempt
    cdef bint attempting        # it counts among the endpoint's calls in flight
    cdef Dial dial              # the connection that is being made for it
    cdef CallStats stats
    cdef Body request_body, response_body
    cdef double started, headers_at, attempt_at, deadline
    cdef bint counted           # its start stands in `stats`
    cdef bint observed          # the endpoint's average has its sample of this attempt
    cdef bint finished
    cdef int attempts
    cdef Classification classification
    cdef int http_status, grpc_status
    cdef Flag flag
    cdef bytes why

    cdef void start(self, Router router, Origin origin) noexcept
    cdef void set_deadline(self, double timeout_s) noexcept
    cdef void begin_attempt(self, Endpoint endpoint) except *
    cdef void leave_endpoint(self) noexcept
    cdef int dial_for(self, Endpoint endpoint) except -1
    cdef int connect_failed(self, str why) except -1
    cdef int attempt(self, Endpoint exclude) except -1
    cdef int fail(self, Flag flag, bytes why) except -1
    cdef void observe(self, bint failed, double at) noexcept
    cdef int finish(self) except -1
    cdef str protocol(self)
    cdef tuple describe(self)
