"""One HTTP/1.x request and its response: it joins a downstream connection to one upstream connection at a time.

Owns the call's attempts, the body bytes that wait for a connection, and the verdict (semantics: 2, 3, 4, 6 and 11).
Bodies pass through from socket to socket; whoever cannot send holds up whoever reads. What the proxy repeats by itself:
a request that never left; once, one that the endpoint's own sidecar refused because its application never saw it; and,
once, an idempotent one whose kept-alive connection closed before any byte of the response.
"""

from libc.stdint cimport uint64_t

from http import HTTPStatus

from proxy.dataplane.body cimport REPLAY_BYTES
from proxy.dataplane.byteconnection cimport HELD_BYTES
from proxy.dataplane.bytequeue cimport (
    ByteQueue,
    queue_forget,
    queue_len,
    queue_peek,
    queue_pop,
    queue_push,
    queue_release,
    queue_rewind,
)
from proxy.dataplane.call cimport Call
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport *
from proxy.dataplane.headers cimport same
from proxy.dataplane.http1connection cimport AT_HEAD, AT_REST, Http1Connection
from proxy.dataplane.http1head cimport CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, MessageHead
from proxy.dataplane.http1render cimport CLOSE, KEEP_ALIVE, UNSAID
from proxy.dataplane.nghttp2 cimport nghttp2_vec
from proxy.dataplane.route cimport Origin, Router, text_of

cdef enum:
    MAX_INTERIMS = 100          # responses with status 1xx before the one that counts
    LONG_BYTES = 65536          # a response over this length takes as long as its reader does

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


cdef Http1Call new_http1_call(Router router, Origin origin, Http1Connection down, MessageHead request):
    cdef Http1Call call = Http1Call.__new__(Http1Call)
    call.start(router, origin)
    call.down = down
    call.request = request
    call.request_body.queue.keep = True
    call.request_body.eof = request.body == NO_BODY
    return call


cdef class Http1Call(Call):
    # ---- the request ----

    cdef int begin(self) except -1:
        """The request's head is complete and in order: find its route, and start the first attempt."""
        self.route = self.router.find(self.origin, c'1', self.request.authority(), self.request.path())
        if self.request.too_large:
            return self.fail(HEADERS_TOO_LARGE, b"the request has over %d headers or %d bytes of them" % (
                self.plane.limits.max_header_fields, self.plane.limits.max_header_list_bytes))
        if self.down.comes_from_us():
            return self.fail(LOOP, b"this connection comes from the proxy itself: an endpoint is its own listener")
        if not self.route.found:
            return self.fail(NO_ENDPOINT, f"no route matches host {text_of(self.request.authority())}, "
                             f"path {text_of(self.request.path())}".encode())
        if self.plane.calls > self.plane.limits.max_calls:
            return self.fail(OVERLOADED, b"over %d calls are in flight" % self.plane.limits.max_calls)
        if self.route.timeout_s >= 0:
            self.set_deadline(self.route.timeout_s)
        self.cluster = self.route.choose(self.plane)
        return self.attempt(None)

    cdef int attempt(self, Endpoint exclude) except -1:
        """Start an attempt on an endpoint the balancer picks, or wait until one is ready."""
        cdef Endpoint endpoint = self.cluster.pick_endpoint(exclude)
        cdef Http1Connection up
        if endpoint is None:
            return self.cluster.park(self)
        self.begin_attempt(endpoint)
        while True:
            up = None if self.repeated else <Http1Connection> endpoint.take_idle()     # not another stale one
            if up is None:
                self.reused = False
                return self.dial_for(endpoint)
            if up.is_open():
                self.reused = True
                return self.attach(up)

    cdef int attach(self, Http1Connection up) except -1:
        """There is a connection: the head goes out on it, and what is here of the body."""
        cdef size_t n = self.request.room()
        cdef char *out = self.plane.scratch(n)
        self.up = up
        up.call = self
        up.keep = False
        up.phase = AT_HEAD
        up.queue(out, self.request.render(out, UNSAID))
        n = queue_len(&self.request_body.queue)
        if n:
            up.queue(queue_peek(&self.request_body.queue), n)
            queue_pop(&self.request_body.queue, n)
        if not up.full():
            self.down.read_on()
        return 0

    cdef int request_bytes(self, const char *data, size_t n, uint64_t payload) except -1:
        cdef Http1Connection up = self.up
        cdef ByteQueue *waiting = &self.request_body.queue
        self.request_body.total += payload
        if up is None or waiting.keep:
            if queue_push(waiting, data, n) != 0:
                raise MemoryError
            if up is not None:
                queue_pop(waiting, n)           # sent below, and kept in case it has to be sent again
            if waiting.keep and waiting.end - waiting.start > REPLAY_BYTES:
                queue_forget(waiting)           # too long for that
        if up is None:
            if queue_len(waiting) > HELD_BYTES:
                self.down.hold()
            return 0
        up.send(data, n)                        # may find the connection lost, and with it the attempt or the call
        if self.up is up and up.full():
            self.down.hold()
        return 0

    cdef int request_end(self) except -1:
        self.request_body.eof = True
        return 0

    cdef int request_broken(self, bytes why) except -1:
        """The body is not what its framing says: nothing more of it goes on."""
        self.plane.malformed += 1
        self.down.keep = False
        self.classification = CANCELLED
        if self.committed:
            self.down.finish("malformed body")
            return 0
        self.http_status = 400
        return self.reply(400, why, b"")

    # ---- the response ----

    cdef int response_head(self, MessageHead head) except -1:
        """A head came from the endpoint: interim, or the response's own."""
        cdef size_t n = head.room()
        cdef char *out
        cdef Http1Connection up
        cdef bint tunnel = head.status == 101 or (self.request.is_connect and head.status // 100 == 2)
        if head.error != NULL or head.too_large:
            return self.fail(UPSTREAM_PROTOCOL, b"the endpoint's headers are malformed: " + (
                b"too large" if head.too_large else <bytes> head.error))
        if (head.status == 101 and not self.request.upgrade) or (head.body == CHUNKED and self.request.minor == 0):
            return self.fail(UPSTREAM_PROTOCOL, b"the endpoint answered in a way that was not asked for")
        if head.status == 503 and self.was_refused(head):
            self.refused = True
            up, self.up = self.up, None
            up.call = None
            up.finish("the call was refused")
            return self.repeat(REFUSED, 503, self.endpoint)
        if head.status < 200 and not tunnel:
            self.interims += 1
            if self.interims > MAX_INTERIMS:
                return self.fail(UPSTREAM_PROTOCOL, b"the endpoint sent over %d interim responses" % MAX_INTERIMS)
            if self.request.minor > 0 and not self.down.full():     # HTTP/1.0 has none
                out = self.plane.scratch(n)
                self.down.queue(out, head.render(out, UNSAID))
            return 0
        self.headers_at = self.plane.now
        self.committed = True
        self.http_status = head.status
        queue_release(&self.request_body.queue)
        self.request_body.queue.keep = False
        self.until_close = head.body == UNTIL_CLOSE
        self.down.keep = self.down.keep and not self.until_close and (tunnel or not self.tunnelled_early())
        self.long_response = self.until_close or head.body == CHUNKED or (
            head.body == LENGTH and head.content_length > LONG_BYTES)
        if self.long_response:
            self.observe(head.status >= 500, self.plane.now)
        out = self.plane.scratch(n)
        if tunnel:
            self.down.queue(out, head.render(out, UNSAID))
            return self.begin_tunnel()
        self.down.queue(out, head.render(out, CLOSE if not self.down.keep else
                                         KEEP_ALIVE if self.request.minor == 0 else UNSAID))
        self.up.keep = head.keep_alive and not self.until_close
        return 0

    cdef bint was_refused(self, MessageHead head) noexcept:
        """Whether a sidecar says that its application never saw the request, which can be sent again (semantics: 4)."""
        cdef nghttp2_vec why = head.find(b"x-mesh-error")
        if self.refused or self.cluster.only or not (self.request_body.queue.keep or self.request_body.total == 0):
            return False
        return same(why, b"connect_failed", 14) or same(why, b"no_endpoint", 11) or same(why, b"refused", 7)

    cdef int repeat(self, Flag flag, int status, Endpoint exclude) except -1:
        """The attempt counts as not made: make another one."""
        self.stats.end(RETRIED, status, -1, flag)
        self.counted = False
        self.leave_endpoint()
        queue_rewind(&self.request_body.queue)
        self.answering = False
        return self.attempt(exclude)

    cdef int response_bytes(self, const char *data, size_t n, uint64_t payload) except -1:
        self.response_body.total += payload
        self.down.send(data, n)
        if self.down is not None and self.down.full() and self.up is not None:
            self.up.hold()
        return 0

    cdef int response_end(self) except -1:
        """The endpoint has said all it had to say."""
        self.classification = FAILURE if self.http_status >= 500 else SUCCESS
        self.observe(self.classification == FAILURE, self.plane.now)
        return self.over()

    # ---- a tunnel: CONNECT, or 101 Switching Protocols ----

    cdef int begin_tunnel(self) except -1:
        self.tunnel = True
        self.plane.cancel(self)
        self.observe(False, self.plane.now)
        self.down.begin_tunnel()
        self.up.begin_tunnel()
        return 0

    cdef bint tunnelled_early(self) noexcept:
        """Whether a client has sent what the tunnel was to carry before there was one: it is not its next request."""
        return self.request.is_connect and queue_len(&self.down.inbox) > 0

    cdef int tunnel_half_closed(self, Http1Connection side) except -1:
        """One side sends no more: the other one is told, and goes on."""
        cdef Http1Connection other = self.up if side is self.down else self.down
        side.ended_by_peer = True
        if not other.ended_by_peer:
            other.send_end()
            return 0
        self.classification = SUCCESS
        return self.over()

    # ---- ends ----

    cdef int up_lost(self, bint protocol, str why) except -1:
        """The connection to the endpoint ended before the response did."""
        self.up = None
        if self.tunnel:
            self.classification = SUCCESS
            return self.over()
        if not self.answering and not protocol and self.reused and not self.repeated and self.request.idempotent and \
                (self.request_body.queue.keep or self.request_body.total == 0):
            self.repeated = True
            return self.repeat(UPSTREAM_LOST, 0, None)
        return self.fail(UPSTREAM_PROTOCOL if protocol else UPSTREAM_LOST,
                         f"endpoint {self.endpoint.address}: {why}".encode())

    cdef int down_lost(self) except -1:
        """The caller left."""
        if self.finished:
            return 0
        self.down.call = None
        self.down = None
        self.classification = SUCCESS if self.tunnel else CANCELLED
        if self.attempting and not self.observed and \
                self.plane.now - self.attempt_at > self.endpoint.cost_now(self.plane.now):
            self.observe(False, self.plane.now)         # it is at least as slow as the time it was given
        return self.over()

    cdef int fail(self, Flag flag, bytes why) except -1:
        """The proxy ends the call by itself (semantics: 2)."""
        cdef Reply *answer = reply_for(flag)
        cdef Http1Connection down
        if self.finished:
            return 0
        self.flag = flag
        self.why = why
        self.classification = FAILURE
        if self.attempting:
            self.observe(True, self.plane.now)
        if not self.committed:
            self.http_status = answer.http_status
            self.down.keep = self.down.keep and self.request_body.eof and flag != HEADERS_TOO_LARGE and \
                not self.tunnelled_early()
            return self.reply(answer.http_status, percent_encode(why), answer.name)
        down, self.down = self.down, None
        down.call = None
        # The body is not whole. Where only the connection's end says where it ends, it takes a reset to tell.
        if self.until_close:
            down.abort("the response is not whole")
        else:
            down.keep = False
            down.exchange_over()        # closes after what is queued (semantics: 6)
        return self.over()

    cdef int reply(self, int status, bytes text, const char *flag) except -1:
        """Answer by ourselves: a status and one line of text."""
        cdef bytes reason = REASONS.get(status, b"")
        cdef bytes head = b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" \
            b"cache-control: no-store\r\n" % (status, reason, len(text) + 1)
        if flag[0]:
            head += b"x-mesh-error: %s\r\n" % (<bytes> flag)
        if not self.down.keep:
            head += b"connection: close\r\n"
        elif self.request.minor == 0:
            head += b"connection: keep-alive\r\n"
        head += b"\r\n"
        if not self.request.is_head:
            head += text + b"\n"
        self.committed = True
        self.down.queue(head, len(head))
        return self.over()

    cdef int over(self) except -1:
        """Let go of both connections, and count."""
        cdef Http1Connection up = self.up, down = self.down
        if self.finished:
            return 0
        self.leave_endpoint()
        if self.waiting:
            self.cluster.unpark(self)
        self.dial = None
        self.up = self.down = None
        self.finish()
        if up is not None:
            up.call = None
            # Kept only between two messages: what is left of either would be taken for part of the next exchange.
            up.keep = up.keep and self.request_body.eof and up.phase == AT_REST
            up.exchange_over()
        if down is not None:
            down.call = None
            # A response that came before the request's end: what still comes of it cannot be told from a next one.
            down.keep = down.keep and self.request_body.eof and not self.tunnel
            down.exchange_over()
        return 0

    cdef void fire(self, double now) noexcept:
        try:
            self.fail(TIMEOUT, b"the deadline was exceeded")
        except BaseException as error:
            self.plane.fault(error)

    cdef str protocol(self):
        return "http1"

    cdef tuple describe(self):
        return text_of(self.request.authority()), text_of(self.request.method()), text_of(self.request.path())
