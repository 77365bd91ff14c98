"""A TCP connection as the data plane sees it: asyncio's BufferedProtocol on one side, turns on the other.

Owns the transport, sending straight to the socket, and the end of the connection. Knows nothing of any protocol:
subclasses say what arrived bytes mean (`receive`), what is to be sent (`flush`), and whom an end concerns (`lost`).
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t n, int flags)
    enum:
        MSG_NOSIGNAL
        MSG_DONTWAIT

cdef enum:
    LINGER_S = 2            # how long a peer that does not read may keep a closing connection


cdef class Connection(Flushable):
    def __cinit__(self, *args, **kwargs):
        self.fd = -1

    # ---- asyncio's BufferedProtocol ----

    def connection_made(self, transport):
        self.transport = transport
        # Nothing may wait in the transport unseen: it is paused from the first byte that the socket did not take.
        transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self.fd = sock.fileno()
        self.plane.enter()
        try:
            self.opened()
            self.touch()
        except BaseException as error:
            self.plane.fault(error)
            self.finish("fault in the proxy")
        self.plane.leave()

    def get_buffer(self, sizehint):
        return self.plane.read_buffer

    def buffer_updated(self, Py_ssize_t n):
        self.plane.enter()
        self.receive(<const uint8_t *> <char *> self.plane.read_buffer, n)
        self.plane.leave()

    def take(self, bytes data):
        """Bytes that were read before the connection was handed over (to find out its protocol)."""
        self.plane.enter()
        self.receive(<const uint8_t *> <const char *> data, len(data))
        self.plane.leave()

    def eof_received(self):
        self.plane.enter()
        stays = self.peer_ended()
        self.plane.leave()
        return stays

    def connection_lost(self, error):
        self.plane.enter()
        if self.why is None and error is not None:
            self.why = str(error)
        self.finish("connection lost")
        self.plane.cancel(self)
        self.transport = None
        self.plane.gone(self)
        self.plane.leave()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        if self.plane.in_turn:
            self.touch()
            return
        self.plane.enter()
        self.touch()
        self.plane.leave()

    # ---- what subclasses give ----

    cdef int opened(self) except -1:
        """The transport is there."""
        return 0

    cdef void receive(self, const uint8_t *data, size_t n) noexcept:
        """Bytes arrived; they are gone after the call."""

    cdef bint peer_ended(self) noexcept:
        """The peer sends no more. True: we go on sending."""
        self.finish("closed by the peer")
        return False

    cdef int lost(self) except -1:
        """The connection has ended: tell whoever used it."""
        return 0

    cpdef int evict(self) except -1:
        """Its endpoint is removed: take no new calls; those that run have a grace period."""
        return 0

    # ---- what they use ----

    cdef void touch(self) noexcept:
        if not self.dirty:
            self.plane.mark(self)

    cdef bint is_open(self) noexcept:
        """Whether something can be sent; finds out here when the transport closed itself."""
        if self.ended:
            return False
        try:
            # A transport that closed itself has given its descriptor back, and the number may be another's by now.
            if self.transport is not None and not self.transport.is_closing():
                return True
        except BaseException as error:
            self.plane.fault(error)
        self.finish("connection lost")
        return False

    cdef void write(self, const char *data, size_t n) noexcept:
        """Send now: straight to the socket, and through the transport what the socket does not take."""
        cdef ssize_t sent = 0
        if not self.is_open():
            return
        if self.fd >= 0:
            sent = c_send(self.fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT)
            if sent == <ssize_t> n:
                return
            # Whatever is wrong, the transport's own attempt meets it too, and reports it.
            sent = max(sent, 0)
        try:
            self.transport.write(PyBytes_FromStringAndSize(data + sent, n - sent))
        except BaseException as error:
            self.plane.fault(error)
            self.finish("cannot write: %s" % error)

    cdef void finish(self, str why) noexcept:
        """The connection is over: close it, and tell whoever used it."""
        if self.ended:
            return
        if self.why is None:
            self.why = why
        self.ended = True
        self.fd = -1
        self.plane.cancel(self)
        try:
            self.lost()
            if self.transport is not None and not self.transport.is_closing():
                self.transport.close()
                self.plane.at(self, self.plane.now + LINGER_S)
        except BaseException as error:
            self.plane.fault(error)

    cdef void fire(self, double now) noexcept:
        """The timer; once ended: the peer did not take our last bytes in time."""
        if self.ended and self.transport is not None:
            try:
                self.transport.abort()
            except BaseException as error:
                self.plane.fault(error)

    # ---- loops: a connection of ours that comes back to us would carry its calls round for ever ----

    cdef tuple addresses(self, str first, str second):
        """The (host, port) of "sockname" and "peername", in the order asked for; None where there are none."""
        one = self.transport.get_extra_info(first)
        two = self.transport.get_extra_info(second)
        return (one[:2], two[:2]) if isinstance(one, tuple) and isinstance(two, tuple) else None

    cdef int know_as_ours(self) except -1:
        """A connection to an endpoint stands."""
        self.pair = self.addresses("sockname", "peername")
        if self.pair is not None:
            self.plane.upstream_pairs.add(self.pair)
        return 0

    cdef void forget_as_ours(self) noexcept:
        if self.pair is not None:
            self.plane.upstream_pairs.discard(self.pair)

    cdef bint comes_from_us(self) except -1:
        """Whether this is the other end of one of our own connections to endpoints.

        Both addresses count: the system gives one local port to several connections if they go to different places.
        """
        return self.addresses("peername", "sockname") in self.plane.upstream_pairs
