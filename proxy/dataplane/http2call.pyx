"""One call over HTTP/2, first header to final status: it joins a downstream stream to one upstream stream at a time.

Owns the call's attempts, what is buffered between the two streams (at most one window a direction), and the verdict on
how it ended. The rules are semantics 2 to 7; the names of the methods are theirs. Sessions tell it what arrives
(`received`, `response`, `closed`), ask it for bytes (`pull`, `emit`), and are told what to send.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t

from proxy.dataplane.body cimport REPLAY_BYTES, Body, body_take
from proxy.dataplane.bytequeue cimport (
    queue_forget,
    queue_kept,
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
from proxy.dataplane.headers cimport METHOD, PATH, HeaderBlock, format_timeout
from proxy.dataplane.http2reply cimport submit_own_trailers, submit_reply
from proxy.dataplane.nghttp2 cimport *
from proxy.dataplane.route cimport Origin, Router, text_of
from proxy.dataplane.session cimport MAX_STREAM_ID, Session, data_provider, nv_scratch

cdef enum:
    STALLED_S = 10              # how long a caller that does not read may hold up the end of its call
    MAX_INTERIMS = 100          # responses with status 1xx before the one that counts


cdef Http2Call new_call(Router router, Session down, int32_t down_id, HeaderBlock request, Origin origin):
    cdef Http2Call call = Http2Call.__new__(Http2Call)
    call.start(router, origin)
    call.down = down
    call.down_id = down_id
    call.request = request
    call.is_grpc = request.is_grpc
    call.is_head = request.is_head
    call.request_body.expected = request.content_length
    call.request_body.queue.keep = True
    nghttp2_session_set_stream_user_data(down.ng, down_id, <void *> call)
    down.calls.add(call)
    return call


cdef class Http2Call(Call):
    # ---- the request ----

    cdef int begin(self, bint end_stream) except -1:
        """The request's headers are complete: find its route, and start the first attempt."""
        cdef double limit
        if end_stream:
            if self.request.content_length > 0:
                self.plane.malformed += 1
                self.down.reset(self.down_id, NGHTTP2_PROTOCOL_ERROR)
                return 0
            self.request_body.eof = True
        self.find_route()
        if self.request.too_large:
            return self.fail(HEADERS_TOO_LARGE, b"the request has over %d headers or %d bytes of them" % (
                self.plane.limits.max_header_fields, self.plane.limits.max_header_list_bytes))
        if not self.route.found:
            return self.fail(NO_ENDPOINT, f"no route matches authority {text_of(self.request.authority())}, "
                             f"path {text_of(self.request.value_of(PATH))}".encode())
        if self.plane.calls > self.plane.limits.max_calls:
            return self.fail(OVERLOADED, b"over %d calls are in flight" % self.plane.limits.max_calls)
        limit = self.route.timeout_s
        if self.request.has_timeout and self.is_grpc and (limit < 0 or self.request.timeout < limit):
            limit = self.request.timeout
        if limit >= 0:
            self.set_deadline(limit)
            if limit == 0:
                return self.fail(TIMEOUT, b"the deadline had passed on arrival")
        self.cluster = self.route.choose(self.plane)
        return self.attempt(None)

    cdef int find_route(self) except -1:
        self.route = self.router.find(self.origin, c'g' if self.is_grpc else c'2', self.request.authority(),
                                      self.request.value_of(PATH))
        return 0

    cdef int attempt(self, Endpoint exclude) except -1:
        """Start an attempt on an endpoint the balancer picks, or wait for one."""
        cdef Session session
        while True:
            session = self.cluster.pick(exclude)
            if session is None:
                return self.cluster.park(self)
            if self.submit(session):
                return 0

    cdef int submit(self, Session session) except -1:
        """Send the request on this connection. Returns 0 when it takes no more, 1 when done."""
        cdef nghttp2_nv *nv
        cdef nghttp2_vec timeout
        cdef char[16] digits
        cdef size_t n
        cdef int32_t stream_id
        cdef nghttp2_data_provider provider
        cdef bint whole = self.request_body.eof and self.request_trailers is None and \
            queue_len(&self.request_body.queue) == 0
        if not nghttp2_session_check_request_allowed(session.ng):
            session.retire()        # libnghttp2 is closing it, and would refuse the call
            return 0
        nv = nv_scratch(self.request.count + 1)
        timeout.base = NULL
        if self.deadline >= 0 and self.is_grpc:
            timeout.len = format_timeout(self.deadline - self.plane.now, digits)
            timeout.base = <uint8_t *> digits
        n = self.request.render(nv, timeout)
        provider = data_provider()
        stream_id = nghttp2_submit_request(session.ng, NULL, nv, n, NULL if whole else &provider, <void *> self)
        if stream_id < 0 or stream_id >= MAX_STREAM_ID:
            session.retire()
            if stream_id < 0:
                return 0
        self.up = session
        self.up_id = stream_id
        self.sent = self.request_sent = self.up_closed = False
        self.request_body.deferred = False
        session.calls.add(self)
        self.begin_attempt(<Endpoint> session.endpoint())
        session.touch()
        return 1

    cdef int received(self, Session session, const uint8_t *data, size_t n) except -1:
        if session is self.down:
            if self.committed and self.up is None:
                session.consume(self.down_id, n)        # the answer is there: what still arrives is dropped
                return 0
            if not body_take(&self.request_body, data, n, self.is_grpc):
                session.reset(self.down_id, NGHTTP2_PROTOCOL_ERROR)
                return 0
            if self.request_body.queue.keep and self.request_body.total > REPLAY_BYTES:
                n = queue_kept(&self.request_body.queue)
                queue_forget(&self.request_body.queue)
                session.consume(self.down_id, n)
            if self.request_body.deferred:
                self.request_body.deferred = False
                self.up.resume(self.up_id)
        elif session is self.up:
            if self.response_body.eof or self.reset_due or self.own_trailers:
                session.consume(self.up_id, n)
            elif self.headers_at < 0 or not body_take(&self.response_body, data, n, self.is_grpc):
                self.fail(UPSTREAM_PROTOCOL, b"the endpoint sent DATA before headers, or more than content-length")
            else:
                if self.response_body.messages > 1 and not self.observed:
                    self.observe(False, self.headers_at)
                if self.response_body.deferred:
                    self.response_body.deferred = False
                    self.down.resume(self.down_id)
        return 0

    cdef int received_end(self, Session session) except -1:
        if session is self.down:
            if self.request_body.expected > 0 and not (self.committed and self.up is None):
                session.reset(self.down_id, NGHTTP2_PROTOCOL_ERROR)
                return 0
            self.request_body.eof = True
            if self.request_body.deferred:
                self.request_body.deferred = False
                self.up.resume(self.up_id)
        elif session is self.up:
            self.upstream_ended()
        return 0

    cdef int request_trailer(self, HeaderBlock block) except -1:
        if block.error != NULL or block.too_large:
            self.down.reset(self.down_id, NGHTTP2_PROTOCOL_ERROR)
            return 0
        self.request_trailers = block
        return self.received_end(self.down)

    # ---- the response ----

    cdef int response(self, HeaderBlock block, bint end_stream) except -1:
        """A header block came from the endpoint: interim, the response's own, or trailers."""
        cdef nghttp2_nv *nv
        cdef nghttp2_vec none
        cdef nghttp2_data_provider provider
        cdef size_t n
        if block.error != NULL or block.too_large or (self.headers_at >= 0 and not end_stream) or \
                (block.status and block.status < 200 and end_stream):
            return self.fail(UPSTREAM_PROTOCOL, b"the endpoint's headers are malformed: " + (
                b"too large" if block.too_large else b"out of place" if block.error == NULL else <bytes> block.error))
        if self.headers_at >= 0:
            self.response_trailers = block
            if block.grpc_status >= 0 and self.is_grpc:
                self.grpc_status = block.grpc_status
            return self.upstream_ended()
        none.base = NULL
        nv = nv_scratch(block.count + 1)
        n = block.render(nv, none)
        if block.status < 200:
            # They are outside flow control: a client that does not read gets none, and nobody sends them for ever.
            self.interims += 1
            if self.interims > MAX_INTERIMS:
                return self.fail(UPSTREAM_PROTOCOL, b"the endpoint sent over %d interim responses" % MAX_INTERIMS)
            if not self.down.paused:
                nghttp2_submit_headers(self.down.ng, NGHTTP2_FLAG_NONE, self.down_id, NULL, nv, n, NULL)
                self.down.touch()
            return 0
        self.headers_at = self.plane.now
        self.committed = True
        self.http_status = block.status
        self.grpc_status = block.grpc_status if self.is_grpc else -1
        if not (self.is_head or block.status == 204 or block.status == 304):
            self.response_body.expected = block.content_length
        if self.request_body.queue.keep:
            # It will not be sent again: the bytes kept for that go, and their credit goes back.
            self.down.consume(self.down_id, queue_kept(&self.request_body.queue))
            queue_forget(&self.request_body.queue)
        if self.plane.access_log is None:
            self.request = None
        provider = data_provider()
        nghttp2_submit_response(self.down.ng, self.down_id, nv, n, NULL if end_stream else &provider)
        self.down.touch()
        if end_stream:
            return self.upstream_ended()
        if not self.request_body.eof:
            self.observe(False, self.headers_at)        # a stream: the time to its headers is the sample
        return 0

    cdef int upstream_ended(self) except -1:
        """The endpoint has said all it had to say."""
        if self.headers_at < 0 or self.response_body.expected > 0:
            return self.fail(UPSTREAM_PROTOCOL, b"the endpoint ended the response before it was complete")
        if self.is_grpc and self.response_body.prefix and self.grpc_status <= 0:
            return self.fail(UPSTREAM_PROTOCOL, b"the endpoint ended the response inside a message")
        self.response_body.eof = True
        self.judge()
        self.observe(self.classification == FAILURE, self.plane.now)
        if self.response_body.deferred:
            self.response_body.deferred = False
            self.down.resume(self.down_id)
        # A response that came before the request's end makes the rest of the request pointless.
        return self.end_attempt(NGHTTP2_CANCEL, not self.request_sent)

    cdef int judge(self) except -1:
        """Classify a response that ended cleanly (semantics: 3)."""
        if self.is_grpc:
            if self.grpc_status < 0:
                self.grpc_status = 2 if self.http_status == 200 else grpc_status_of_http(self.http_status)
            elif self.grpc_status > 16:
                self.grpc_status = 2
            self.classification = classify_grpc(self.grpc_status)
        else:
            self.classification = FAILURE if self.http_status >= 500 else SUCCESS
        return 0

    # ---- what goes out ----

    cdef ssize_t pull(self, Session session, size_t most, uint32_t *flags) except? -1:
        cdef bint up = session is self.up
        cdef Body *body = &self.request_body if up else &self.response_body
        cdef HeaderBlock trailers = self.request_trailers if up else self.response_trailers
        cdef size_t n = min(queue_len(&body.queue), most)
        if n == queue_len(&body.queue):
            if not body.eof:
                if n == 0:
                    if not up and self.reset_due:
                        session.reset(self.down_id, self.reset_code)
                    body.deferred = not (not up and self.reset_due)
                    return NGHTTP2_ERR_DEFERRED
            else:
                flags[0] |= NGHTTP2_DATA_FLAG_EOF
                if trailers is not None or (not up and self.own_trailers):
                    flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
                    self.submit_trailers(trailers if up or not self.own_trailers else None)
        if n:
            flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
        return <ssize_t> n

    cdef int submit_trailers(self, HeaderBlock block) except -1:
        """Trailers are queued only when the last byte before them is on its way, or they would overtake it."""
        cdef nghttp2_nv *nv
        cdef nghttp2_vec none
        cdef Session session = self.down
        cdef int32_t stream_id = self.down_id
        if block is None:
            return submit_own_trailers(self.down, self.down_id, self.flag, self.why, self.grpc_status)
        if block is self.request_trailers:
            session = self.up
            stream_id = self.up_id
        none.base = NULL
        nv = nv_scratch(block.count + 1)
        nghttp2_submit_trailer(session.ng, stream_id, nv, block.render(nv, none))
        return 0

    cdef int emit(self, Session session, size_t n) except -1:
        cdef Body *body
        if session is self.up:
            body = &self.request_body
            if self.plane.put(queue_peek(&body.queue), n) != 0:
                raise MemoryError
            queue_pop(&body.queue, n)
            if not body.queue.keep and self.down is not None:
                self.down.consume(self.down_id, n)
        else:
            body = &self.response_body
            if self.plane.put(queue_peek(&body.queue), n) != 0:
                raise MemoryError
            queue_pop(&body.queue, n)
            if self.up is not None:
                self.up.consume(self.up_id, n)
        return 0

    cdef int sent_headers(self, Session session, bint end_stream) except -1:
        if session is self.up:
            self.sent = True
            if end_stream:
                self.request_sent = True
        else:
            self.headers_sent = self.headers_at >= 0
            if end_stream:
                self.sent_end(session)
        return 0

    cdef int sent_end(self, Session session) except -1:
        if session is self.up:
            self.request_sent = True
        else:
            self.response_sent = True
            if not self.request_body.eof:
                session.reset(self.down_id, NGHTTP2_NO_ERROR)       # RFC 9113, section 8.1
        return 0

    # ---- ends ----

    cdef int closed(self, Session session, uint32_t code) except -1:
        if session is self.down:
            return self.downstream_gone(code)
        if session is self.up:
            self.up_closed = True
            if code == NGHTTP2_REFUSED_STREAM and not self.committed:
                if not self.sent:
                    session.retire()        # libnghttp2 itself refuses to open streams on it
                return self.retry(not self.sent)
            return self.upstream_reset(code)
        return 0

    cdef int session_lost(self, Session session, bint protocol, str why) except -1:
        if session is self.down:
            return self.downstream_gone(NGHTTP2_CANCEL)
        if session is not self.up:
            return 0
        if not self.sent and not self.committed:
            return self.retry(True)
        why_bytes = f"endpoint {self.endpoint.address}: {why}".encode()
        return self.fail(UPSTREAM_PROTOCOL if protocol else UPSTREAM_LOST, why_bytes)

    cdef int retry(self, bint free) except -1:
        """The endpoint did not process this attempt: repeat it elsewhere, once unless it never left (semantics: 4)."""
        cdef Endpoint refusing = self.endpoint
        cdef bint whole = self.request_body.queue.keep or \
            queue_len(&self.request_body.queue) == self.request_body.total
        if (self.refused and not free) or not whole:
            return self.fail(REFUSED, b"refused by endpoint " + refusing.address.encode())
        if not free:
            self.refused = True
        self.stats.end(RETRIED, 0, -1, REFUSED)
        self.counted = False
        self.end_attempt(0, False)
        queue_rewind(&self.request_body.queue)
        return self.attempt(refusing)

    cdef int end_attempt(self, uint32_t code, bint reset) except -1:
        """Leave the upstream stream, with a reset when it is not over."""
        cdef Session up = self.up
        if up is None:
            return 0
        self.up = None
        self.leave_endpoint()
        if reset and not self.up_closed:
            up.reset(self.up_id, code)
        self.request_body.deferred = False
        up.detach(self, self.up_id)
        if self.committed and self.down is not None:
            # Nobody will read the rest of the request: give its credit back, and its memory.
            self.down.consume(self.down_id, queue_len(&self.request_body.queue))
            queue_release(&self.request_body.queue)
        return 0

    cdef int upstream_reset(self, uint32_t code) except -1:
        """RST_STREAM from the endpoint before the response was complete: relayed with its code (semantics: 6)."""
        self.grpc_status = grpc_status_of_reset(code) if self.is_grpc else -1
        self.classification = classify_grpc(grpc_status_of_reset(code))
        self.observe(self.classification == FAILURE, self.plane.now)
        self.committed = True
        self.end_attempt(0, False)
        return self.reset_downstream(code)

    cdef int reset_downstream(self, uint32_t code) except -1:
        """Reset the caller's stream, after all that is queued for it: libnghttp2 drops what a reset would overtake."""
        self.reset_due = True
        self.reset_code = code
        if self.headers_at < 0 or (self.headers_sent and queue_len(&self.response_body.queue) == 0):
            self.down.reset(self.down_id, code)
            return 0
        self.plane.at(self, self.plane.now + STALLED_S)
        if self.response_body.deferred:
            self.response_body.deferred = False
            self.down.resume(self.down_id)
        return 0

    cdef int downstream_gone(self, uint32_t code) except -1:
        """The downstream stream is closed: all was sent, or the caller left."""
        cdef Session down = self.down
        if not self.response_sent and not self.reset_due:
            self.classification = CANCELLED
            if self.is_grpc:
                self.grpc_status = 1
            # An endpoint that is slow enough to be left is at least as slow as the time it was given.
            if self.up is not None and not self.observed and self.plane.now - self.attempt_at > \
                    self.endpoint.cost_now(self.plane.now):
                self.observe(False, self.plane.now)
        self.down = None
        self.end_attempt(NGHTTP2_CANCEL if code == NGHTTP2_NO_ERROR else code, True)
        if self.waiting:
            self.cluster.unpark(self)
        down.call_over(self.plane.now - self.started, self.classification == CANCELLED)
        down.detach(self, self.down_id)
        return self.finish()

    cdef void fire(self, double now) noexcept:
        try:
            if self.own_trailers or self.reset_due:
                # The caller's window is used up, and it does not read what is queued first: end it all the same.
                self.down.reset(self.down_id, self.reset_code if self.reset_due else NGHTTP2_CANCEL)
            else:
                self.fail(TIMEOUT, b"the deadline was exceeded")
        except BaseException as error:
            self.plane.fault(error)

    cdef int fail(self, Flag flag, bytes why) except -1:
        """The proxy ends the call by itself (semantics: 2)."""
        cdef Reply *reply = reply_for(flag)
        if self.finished or self.flag != NONE or self.reset_due or self.down is None:
            return 0
        self.flag = flag
        self.why = why
        self.plane.cancel(self)
        if self.waiting:
            self.cluster.unpark(self)
        self.classification = FAILURE
        self.grpc_status = reply.grpc_status if self.is_grpc else -1
        if self.up is not None and flag != REFUSED:
            self.observe(True, self.plane.now)
        if not self.committed and self.inbound_refusal():
            self.committed = True
            self.reset_downstream(NGHTTP2_REFUSED_STREAM)
        elif not self.committed:
            self.reply()
        elif self.is_grpc and self.response_body.prefix == 0:
            self.own_trailers = True
            self.response_body.eof = True
            self.plane.at(self, self.plane.now + STALLED_S)
            if self.response_body.deferred:
                self.response_body.deferred = False
                self.down.resume(self.down_id)
        else:
            # Inside a message, or not gRPC: only a reset says that the body is not whole.
            self.reset_downstream(NGHTTP2_CANCEL if flag == TIMEOUT else NGHTTP2_INTERNAL_ERROR)
        return self.end_attempt(NGHTTP2_CANCEL, True)

    cdef bint inbound_refusal(self) noexcept:
        """Whether this pod's application, gone or not there yet, never saw the call: then the caller's sidecar, or its
        gRPC library, may take it elsewhere, and REFUSED_STREAM tells it so (RFC 9113, section 8.7)."""
        return self.cluster is not None and self.cluster.inbound and \
            self.flag in (NO_ENDPOINT, CONNECT_FAILED, REFUSED)

    cdef int reply(self) except -1:
        """Answer by ourselves."""
        cdef bytes body = submit_reply(self.down, self.down_id, self.flag, self.why, self.is_grpc, self.is_head)
        self.committed = True
        self.http_status = 200 if self.is_grpc else reply_for(self.flag).http_status
        self.response_body.eof = True
        queue_push(&self.response_body.queue, body, len(body))
        return 0

    cdef int finish(self) except -1:
        Call.finish(self)
        self.request = self.request_trailers = self.response_trailers = None
        return 0

    cdef tuple describe(self):
        if self.request is None:
            return "", "", ""           # the log was switched on when the call had begun
        return (text_of(self.request.authority()), text_of(self.request.value_of(METHOD)),
                text_of(self.request.value_of(PATH)))
