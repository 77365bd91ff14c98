from proxy.dataplane.call cimport Dial
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.http1connection cimport Http1Connection


cdef class Http1Upstream(Http1Connection):
    cdef readonly Endpoint endpoint
    cdef Dial dial                  # the call it is made for; None: none, or it has it
    cdef bint retired

    cdef void rest(self) noexcept
