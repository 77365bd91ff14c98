from libc.stdint cimport uint8_t

from proxy.dataplane.byteconnection cimport ByteConnection
from proxy.dataplane.call cimport Call, Dial
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport Flag
from proxy.dataplane.route cimport Origin, Router


cdef class RelayEnd(ByteConnection):
    cdef Relay relay
    cdef RelayEnd other
    cdef readonly Origin origin     # of the downstream end
    cdef Endpoint endpoint          # of the upstream end
    cdef Dial dial                  # the relay it is made for, until it stands


cdef class Relay(Call):
    cdef RelayEnd down, up
    cdef str server_name
    cdef object on_server_first     # called once when the endpoint speaks and there is no client's end yet

    cdef int attach(self, RelayEnd up) except -1
    cdef int deliver(self) except -1
    cdef int moved(self, RelayEnd source, const uint8_t *data, size_t n) except -1
    cdef int half_closed(self, RelayEnd source) except -1
    cdef int fin_sent(self) except -1
    cdef int end_lost(self, RelayEnd end) except -1
    cdef int over(self) except -1
