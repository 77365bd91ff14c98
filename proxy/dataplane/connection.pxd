from libc.stdint cimport uint8_t

from proxy.dataplane.plane cimport DataPlane, Flushable


cdef class Connection(Flushable):
    cdef readonly DataPlane plane
    cdef readonly object transport
    cdef int fd                         # for sending straight from memory; -1: through the transport
    cdef bint paused                    # the transport still has bytes of ours
    cdef bint ended                     # the connection is closed, or is being
    cdef readonly str why               # why it ended
    cdef tuple pair                     # to an endpoint: its (local, remote) address

    cdef int opened(self) except -1
    cdef void receive(self, const uint8_t *data, size_t n) noexcept
    cdef bint peer_ended(self) noexcept
    cdef int lost(self) except -1
    cpdef int evict(self) except -1
    cdef void touch(self) noexcept
    cdef bint is_open(self) noexcept
    cdef void write(self, const char *data, size_t n) noexcept
    cdef void finish(self, str why) noexcept
    cdef tuple addresses(self, str first, str second)
    cdef int know_as_ours(self) except -1
    cdef void forget_as_ours(self) noexcept
    cdef bint comes_from_us(self) except -1
