from proxy.dataplane.http1connection cimport Http1Connection
from proxy.dataplane.route cimport Origin, Router


cdef class Http1Downstream(Http1Connection):
    cdef readonly Router router
    cdef readonly Origin origin
    cdef readonly bint draining
    cdef bint closing               # the last response is on its way; what still comes is dropped
    cdef bint want_timer

    cdef int refuse(self, const char *why, bint too_large) except -1
    cdef void watch(self) noexcept
