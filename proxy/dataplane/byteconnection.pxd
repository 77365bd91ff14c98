from libc.stdint cimport uint8_t

from proxy.dataplane.bytequeue cimport ByteQueue
from proxy.dataplane.connection cimport Connection

cdef enum:
    HELD_BYTES = 65536          # beyond this many that a connection could not send, its sender is held up


cdef class ByteConnection(Connection):
    cdef ByteQueue out          # waits to be sent
    cdef bint held              # we do not read
    cdef bint end_due           # FIN follows when `out` has gone
    cdef bint end_sent
    cdef bint ended_by_peer     # its FIN is here

    cdef void queue(self, const char *data, size_t n) noexcept
    cdef void send(self, const char *data, size_t n) noexcept
    cdef void send_end(self) noexcept
    cdef bint full(self) noexcept
    cdef void hold(self) noexcept
    cdef void read_on(self) noexcept
    cdef void fin_sent(self) noexcept
    cdef void drained(self) noexcept
    cdef void abort(self, str why) noexcept
