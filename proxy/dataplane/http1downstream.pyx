"""An HTTP/1.x connection from a client: the server's side. One request at a time; pipelined ones wait.

RFC 9112, sections 9.3 and 9.6.
A request that is malformed is answered 400 and ends the connection, for where the next one begins is then unknown.
"""

from libc.stdint cimport uint8_t, uint64_t

from proxy.dataplane.bytequeue cimport queue_len
from proxy.dataplane.failure cimport INTERNAL
from proxy.dataplane.http1call cimport Http1Call, new_http1_call
from proxy.dataplane.http1connection cimport AT_HEAD, AT_REST, AT_TUNNEL, Http1Connection
from proxy.dataplane.http1head cimport MessageHead, parse_request
from proxy.dataplane.route cimport Origin, Router

cdef enum:
    LINGER_S = 2                # how long a client may take to close after the response that ends the connection


cdef class Http1Downstream(Http1Connection):
    def __init__(self, Router router, Origin origin):
        self.plane = router.plane
        self.router = router
        self.origin = origin
        self.server = True

    cdef int opened(self) except -1:
        self.plane.downstreams.add(self)
        return 0

    cdef void receive(self, const uint8_t *data, size_t n) noexcept:
        if self.closing:
            return
        Http1Connection.receive(self, data, n)
        self.watch()

    cdef void flush(self) noexcept:
        Http1Connection.flush(self)
        self.watch()

    cdef void watch(self) noexcept:
        """A head that has begun has a limited time to be whole (semantics: 9)."""
        cdef bint wanted = self.phase == AT_HEAD and queue_len(&self.inbox) > 0 and not self.held
        if self.ended or self.closing or wanted == self.want_timer:
            return
        self.want_timer = wanted
        if wanted:
            self.plane.at(self, self.plane.now + self.plane.limits.header_timeout_s)
        else:
            self.plane.cancel(self)

    cdef void fire(self, double now) noexcept:
        if self.ended:
            Http1Connection.fire(self, now)
        elif self.closing:
            self.finish("the response was not read")
        else:
            self.plane.cuts["slow"] = self.plane.cuts.get("slow", 0) + 1
            self.plane.note("client on listener %s cut: slow" % self.origin.listener)
            self.finish("slow")

    # ---- requests ----

    cdef int head(self, const char *data, size_t n) except -1:
        cdef MessageHead request = parse_request(data, n, self.plane.limits.max_header_fields,
                                                 self.plane.limits.max_header_list_bytes)
        cdef Http1Call call
        if request.error != NULL:
            return self.refuse(request.error, False)
        self.keep = request.keep_alive and not self.draining
        call = new_http1_call(self.router, self.origin, self, request)
        self.call = call
        try:
            call.begin()
        except BaseException as error:
            self.plane.fault(error)
            call.fail(INTERNAL, b"fault in the proxy")
        if self.call is not call:
            return 0                # answered already
        return self.begin_body(request.body, request.content_length)

    cdef int broken(self, const char *why, bint too_large) except -1:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None:
            return call.request_broken(why)
        return self.refuse(why, too_large)

    cdef int refuse(self, const char *why, bint too_large) except -1:
        """Answer what is no request."""
        cdef bytes status = b"431 Request Header Fields Too Large" if too_large else b"400 Bad Request"
        cdef bytes text = <bytes> why + b"\n"
        cdef bytes answer = b"HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" \
            b"connection: close\r\n\r\n%s" % (status, len(text), text)
        self.plane.malformed += 1
        self.queue(answer, len(answer))
        self.keep = False
        return self.exchange_over()

    cdef int body_bytes(self, const char *data, size_t n, uint64_t payload) except -1:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None:
            call.request_bytes(data, n, payload)
        return 0

    cdef int message_end(self) except -1:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None:
            call.request_end()
        return 0

    cdef int exchange_over(self) except -1:
        if self.ended:
            return 0
        if self.keep:
            self.next_message()
            return 0
        # Closed in two steps: a reset for bytes that still come could overtake the response (RFC 9112, section 9.6).
        self.closing = True
        self.phase = AT_REST
        self.plane.cancel(self)
        self.read_on()
        if self.end_sent:
            self.fin_sent()             # of a tunnel
        self.send_end()
        return 0

    cdef void fin_sent(self) noexcept:
        if self.closing and self.ended_by_peer:
            self.finish("ended")
        elif self.closing:
            self.plane.at(self, self.plane.now + LINGER_S)

    # ---- ends ----

    cdef bint peer_ended(self) noexcept:
        cdef Http1Call call = <Http1Call> self.call
        try:
            if self.phase == AT_TUNNEL and call is not None:
                call.tunnel_half_closed(self)
                return not self.ended
            if call is None and self.full():
                self.ended_by_peer = True       # it still reads: the response has ended, but is not sent yet
                self.keep = False
                self.exchange_over()
                return not self.ended
        except BaseException as error:
            self.plane.fault(error)
        self.finish("closed by the peer")
        return False

    cdef void drained(self) noexcept:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None and call.up is not None:
            call.up.read_on()
        elif self.phase == AT_HEAD and self.held:
            self.next_message()         # its answers were in the way

    cdef int lost(self) except -1:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None:
            call.down_lost()
        return 0

    # ---- drain ----

    def drain(self):
        """Say with the next response that it is the last. One without a request has nobody to say it to, yet."""
        self.plane.turn(self._drain)

    def _drain(self):
        self.draining = True
        self.keep = False
        if not self.ended and self.phase == AT_HEAD and self.full() and not queue_len(&self.inbox):
            self.exchange_over()        # that response is still being read, and was the last

    @property
    def idle(self):
        """Whether it may be closed without anyone missing it: kept alive, with no request begun."""
        return self.phase == AT_HEAD and self.call is None and not queue_len(&self.inbox) and not self.full()

    def close(self, str why="closed by the proxy"):
        """Now: a call that runs is cancelled."""
        self.plane.turn(self._close, why)

    def _close(self, str why):
        self.finish(why)
