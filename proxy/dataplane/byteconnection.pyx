"""A connection on which bytes are sent as they are handed over: what HTTP/1.x and TCP have in common.

Owns what waits to be sent, and holding up the reader: whoever sends on a connection that is `full` stops reading from
where its bytes come from, until `drained`. So at most HELD_BYTES and one read wait in memory for each direction. The
end of each direction is its own: `send_end` sends FIN after what is queued (RFC 9293, section 3.6).
"""

from proxy.dataplane.bytequeue cimport queue_len, queue_peek, queue_pop, queue_push, queue_release
from proxy.dataplane.connection cimport Connection

cdef extern from "<sys/socket.h>" nogil:
    int setsockopt(int fd, int level, int name, const void *value, unsigned int size)
    enum:
        SOL_SOCKET
        SO_LINGER
    ctypedef struct Linger "struct linger":
        int l_onoff
        int l_linger


cdef class ByteConnection(Connection):
    def __dealloc__(self):
        queue_release(&self.out)

    # ---- sending ----

    cdef void queue(self, const char *data, size_t n) noexcept:
        """Send at the end of the turn, together with what else comes by then."""
        if self.ended or self.end_sent or n == 0:
            return
        if queue_push(&self.out, data, n) != 0:
            self.abort("out of memory")
        self.touch()

    cdef void send(self, const char *data, size_t n) noexcept:
        """Send now if nothing waits, straight from the memory that was read into."""
        if self.paused or self.dirty or queue_len(&self.out):
            self.queue(data, n)
        elif not self.end_sent and n:
            self.write(data, n)

    cdef void send_end(self) noexcept:
        """We send no more."""
        if not self.end_due:
            self.end_due = True
            self.touch()

    cdef bint full(self) noexcept:
        return self.paused or queue_len(&self.out) > HELD_BYTES

    cdef void flush(self) noexcept:
        cdef size_t n
        if self.paused or self.ended:
            return
        n = queue_len(&self.out)
        if n:
            self.write(queue_peek(&self.out), n)
            queue_pop(&self.out, n)
        if self.paused or self.ended:
            return
        if self.end_due and not self.end_sent:
            self.end_sent = True
            if self.is_open():
                try:
                    self.transport.write_eof()
                except BaseException as error:
                    self.finish("cannot send FIN: %s" % error)
            self.fin_sent()
        self.drained()

    cdef void fin_sent(self) noexcept:
        """Our FIN is on its way, behind all that we had to say."""

    cdef void drained(self) noexcept:
        """All is sent, and the socket takes more: whoever was held up may go on."""

    # ---- reading ----

    cdef void hold(self) noexcept:
        """Read no more for now: the peer's bytes wait in its own socket."""
        if not self.held and not self.ended_by_peer and self.is_open():
            self.held = True
            try:
                self.transport.pause_reading()
            except BaseException as error:
                self.plane.fault(error)

    cdef void read_on(self) noexcept:
        if self.held and self.is_open():
            self.held = False
            try:
                self.transport.resume_reading()
            except BaseException as error:
                self.plane.fault(error)

    # ---- the end ----

    cdef void abort(self, str why) noexcept:
        """End with RST: what was sent is not whole, and must not look it."""
        cdef Linger now = Linger(1, 0)
        try:
            if self.is_open():
                if self.fd >= 0:
                    setsockopt(self.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
                self.transport.abort()
        except BaseException as error:
            self.plane.fault(error)
        self.finish(why)
