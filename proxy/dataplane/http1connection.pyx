"""An HTTP/1.x connection: cuts the bytes that arrive into heads and bodies (RFC 9112, sections 2 and 6).

Knows which message part is next and where it ends, no more: what a head means, and where the bytes of a body go, is for
the two subclasses (http1downstream.pyx, http1upstream.pyx). Bodies are handed on as they came, chunk framing and all.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from proxy.dataplane.byteconnection cimport HELD_BYTES, ByteConnection
from proxy.dataplane.bytequeue cimport queue_len, queue_peek, queue_pop, queue_push, queue_release
from proxy.dataplane.chunks cimport chunks_start, chunks_walk
from proxy.dataplane.http1head cimport (
    CHUNKED,
    LENGTH,
    NO_BODY,
    BodyKind,
    find_head_end,
    skip_empty_lines,
)


cdef class Http1Connection(ByteConnection):
    def __dealloc__(self):
        queue_release(&self.inbox)

    cdef void receive(self, const uint8_t *data, size_t n) noexcept:
        cdef size_t used = 0
        if self.ended:
            return
        try:
            if queue_len(&self.inbox) == 0:
                used = self.consume(<const char *> data, n)
            if self.ended or used == n:
                return
            if queue_push(&self.inbox, <const char *> data + used, n - used) != 0:
                raise MemoryError
            if used == 0:
                self.work()
        except BaseException as error:
            self.plane.fault(error)
            self.abort("fault in the proxy")
            return
        if self.phase == AT_REST and queue_len(&self.inbox) > HELD_BYTES:
            self.hold()

    cdef void work(self) noexcept:
        """Take from the inbox what can be taken now."""
        cdef size_t used
        try:
            used = self.consume(queue_peek(&self.inbox), queue_len(&self.inbox))
            if not self.ended:
                queue_pop(&self.inbox, used)
        except BaseException as error:
            self.plane.fault(error)
            self.abort("fault in the proxy")

    cdef size_t consume(self, const char *data, size_t n) except? 0:
        """Take what can be taken of n bytes that follow each other; returns how many."""
        cdef size_t i = 0
        cdef ssize_t size
        while i < n and not self.ended:
            if self.phase == AT_HEAD:
                if self.server and self.full():
                    self.hold()         # until the answers that wait are sent: they may be longer than the requests
                    break
                if self.server and self.scanned == 0:
                    i += skip_empty_lines(data + i, n - i)
                size = find_head_end(data + i, n - i, &self.scanned)
                if size < 0:
                    self.broken(b"not a head of HTTP/1.x", False)
                    break
                if (size if size else n - i) > <size_t> self.plane.limits.max_header_list_bytes + 8192:
                    self.broken(b"the head is too large", True)
                    break
                if size == 0:
                    break
                self.scanned = 0
                self.head(data + i, size)
                i += size
            elif self.phase == AT_BODY:
                i += self.consume_body(data + i, n - i)
            elif self.phase == AT_TUNNEL:
                self.body_bytes(data + i, n - i, n - i)
                i = n
            else:
                break
        return i

    cdef size_t consume_body(self, const char *data, size_t n) except? 0:
        cdef uint64_t payload = 0
        cdef ssize_t size = n
        cdef bint over = False
        if self.body == LENGTH:
            size = min(self.left, <int64_t> n)
            self.left -= size
            payload = size
            over = self.left == 0
        elif self.body == CHUNKED:
            size = chunks_walk(&self.chunks, data, n, &payload)
            if size < 0:
                self.broken(self.chunks.error, False)
                return n
            over = self.chunks.done
        else:
            payload = n
        self.body_bytes(data, size, payload)
        if over and not self.ended:
            self.phase = AT_REST
            self.message_end()
        return size

    cdef int begin_body(self, BodyKind body, int64_t length) except -1:
        """The head was taken; this is how its body ends."""
        self.body = body
        self.left = length
        if body == NO_BODY:
            self.phase = AT_REST
            return self.message_end()
        if body == CHUNKED:
            chunks_start(&self.chunks)
        self.phase = AT_BODY
        return 0

    cdef void begin_tunnel(self) noexcept:
        self.phase = AT_TUNNEL
        self.touch()            # what came behind the head waits in the inbox

    cdef void next_message(self) noexcept:
        """The exchange is over: the next head may come, or is here already."""
        self.phase = AT_HEAD
        self.read_on()
        if queue_len(&self.inbox):
            self.touch()

    cdef void flush(self) noexcept:
        if queue_len(&self.inbox) and self.phase != AT_REST and not self.ended:
            self.work()
        ByteConnection.flush(self)

    # ---- what subclasses give ----

    cdef int head(self, const char *data, size_t n) except -1:
        """A whole head. Ends with `begin_body`, unless the connection is over."""
        return 0

    cdef int broken(self, const char *why, bint too_large) except -1:
        """What the peer sends is no HTTP/1.x, or is over the limits."""
        return 0

    cdef int body_bytes(self, const char *data, size_t n, uint64_t payload) except -1:
        """Bytes of the body as they came; `payload` of them are not framing."""
        return 0

    cdef int message_end(self) except -1:
        return 0

    cdef int exchange_over(self) except -1:
        """The call has let go of this connection: use it again (`keep`) or end it."""
        return 0
