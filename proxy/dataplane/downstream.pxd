from proxy.dataplane.route cimport Origin, Router
from proxy.dataplane.session cimport Session


cdef class DownstreamSession(Session):
    cdef readonly Router router
    cdef readonly Origin origin
    cdef readonly bint draining
    cdef bint pinged
    cdef bint looped, loop_known
    cdef double resets, resets_at       # a bucket of tokens for resets that cost us work

    cdef bint spend(self, double tokens) noexcept
