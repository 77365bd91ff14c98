from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.session cimport Session


cdef class UpstreamSession(Session):
    cdef readonly Endpoint target
    cdef object on_ready        # called with (session, error or None) once it is ready or has failed
    cdef bint reported, is_ready
    cdef tuple pair             # its (local, remote) address

    cdef void settle(self, str error)
