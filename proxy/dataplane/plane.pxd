from libc.stdint cimport uint64_t


cdef class Timed:
    """Something that happens at a time: see `DataPlane.at`."""
    cdef double when            # plane seconds
    cdef Py_ssize_t slot        # where it is in the heap; -1: nowhere
    cdef void fire(self, double now) noexcept


cdef class Flushable(Timed):
    """A session with something to write, flushed once at the end of a turn."""
    cdef bint dirty
    cdef void flush(self) noexcept


cdef class Limits:
    cdef readonly Py_ssize_t max_header_fields
    cdef readonly Py_ssize_t max_header_list_bytes
    cdef readonly Py_ssize_t max_concurrent_streams
    cdef readonly double header_timeout_s
    cdef readonly Py_ssize_t max_calls


cdef class DataPlane:
    cdef readonly object loop
    cdef readonly Limits limits
    cdef readonly dict clusters         # name -> Cluster
    cdef readonly dict cuts             # reason -> downstream connections cut
    cdef readonly set downstreams       # connections from clients, until their descriptors are given back
    cdef readonly set upstream_pairs    # (local, remote) address of our own upstream connections, to find loops
    cdef readonly long faults
    cdef readonly long calls            # in flight
    cdef readonly long malformed        # requests refused before routing
    cdef readonly object last_fault
    cdef public object access_log       # None, or a list that each finished call appends a tuple to
    cdef public object on_dial          # called with an Endpoint that misses a connection, or a Dial
    cdef public object on_disconnect    # called after the turn for each connection from a client that is gone

    cdef object clock
    cdef double now                     # plane seconds, read once a turn
    cdef uint64_t random_state
    cdef list dirty                     # Flushables
    cdef list heap                      # Timed, a binary heap by `when`
    cdef object alarm
    cdef double alarm_at
    cdef bytearray read_buffer
    cdef char *out                      # what a flush gathers, shared by all sessions
    cdef size_t out_len, out_capacity
    cdef list to_dial
    cdef Py_ssize_t departed            # connections from clients that went in this turn
    cdef list notes                     # what is worth a line in the log, handed over at the end of the turn
    cdef public object on_note          # called with each
    cdef bint in_turn

    cdef void enter(self) noexcept
    cdef void leave(self) noexcept
    cdef void mark(self, Flushable session) noexcept
    cdef void at(self, Timed timed, double when) noexcept
    cdef void cancel(self, Timed timed) noexcept
    cdef void want_dial(self, object wanted) noexcept
    cdef void gone(self, object connection) noexcept
    cdef void fault(self, object error) noexcept
    cdef void note(self, str text) noexcept
    cdef uint64_t random(self) noexcept
    cdef int put(self, const char *data, size_t n) noexcept
    cdef int reserve(self, size_t n) noexcept
    cdef char *scratch(self, size_t n) except NULL
    cdef void sift_up(self, Py_ssize_t i) noexcept
    cdef void sift_down(self, Py_ssize_t i) noexcept
    cdef void arm(self)
