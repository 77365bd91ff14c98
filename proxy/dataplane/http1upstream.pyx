"""An HTTP/1.x connection to an endpoint: the client's side. Carries one call at a time, and is kept for the next one.

Made for one call (`Dial`), or by the dialer to find out whether the endpoint can be reached again. An idle connection
on which the endpoint says something unasked is closed: whose answer that is cannot be known.
"""

from libc.stdint cimport uint8_t, uint64_t

from proxy.dataplane.bytequeue cimport queue_len
from proxy.dataplane.call cimport Dial
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.http1call cimport Http1Call
from proxy.dataplane.http1connection cimport AT_BODY, AT_HEAD, AT_TUNNEL, Http1Connection
from proxy.dataplane.http1head cimport UNTIL_CLOSE, MessageHead, parse_response

cdef enum:
    IDLE_S = 3                  # as linkerd2-proxy: shorter than what servers keep idle connections for
    GRACE_S = 30                # how long a connection to a removed endpoint may finish its call
    LINGER_S = 2                # how long a tunnel's end may take to be read
    MAX_IDLE = 100              # idle connections kept to one endpoint


cdef class Http1Upstream(Http1Connection):
    def __init__(self, Endpoint endpoint, Dial dial=None):
        self.plane = endpoint.cluster.plane
        self.endpoint = endpoint
        self.dial = dial

    cdef int opened(self) except -1:
        cdef Dial dial = self.dial
        self.dial = None
        self.know_as_ours()
        self.keep = True
        self.endpoint.opened(self)
        if dial is None or not dial.is_wanted():
            self.rest()
        else:
            dial.call.dial = None
            (<Http1Call> dial.call).attach(self)
        self.endpoint.reached()
        return 0

    cdef void rest(self) noexcept:
        """Wait for the next call."""
        self.phase = AT_HEAD
        if self.endpoint.removed or len(self.endpoint.idle) >= MAX_IDLE:
            self.finish("not needed")
            return
        self.endpoint.give_idle(self)
        self.plane.at(self, self.plane.now + IDLE_S)

    cdef void receive(self, const uint8_t *data, size_t n) noexcept:
        cdef Http1Call call = <Http1Call> self.call
        if call is None:
            if not self.ended:
                self.plane.note("endpoint %s sent bytes that nobody asked for" % self.endpoint.address)
                self.finish("bytes out of place")
            return
        call.answering = True
        Http1Connection.receive(self, data, n)
        if self.call is None and queue_len(&self.inbox):
            self.finish("bytes out of place")       # they came behind the response

    # ---- responses ----

    cdef int head(self, const char *data, size_t n) except -1:
        cdef Http1Call call = <Http1Call> self.call
        cdef MessageHead response
        if call is None:
            self.keep = False
            self.finish("bytes out of place")
            return 0
        response = parse_response(data, n, self.plane.limits.max_header_fields,
                                  self.plane.limits.max_header_list_bytes, call.request.is_head,
                                  call.request.is_connect)
        call.response_head(response)
        if self.ended or self.call is None or self.phase == AT_TUNNEL or response.status < 200:
            return 0
        return self.begin_body(response.body, response.content_length)

    cdef int broken(self, const char *why, bint too_large) except -1:
        self.end_with(True, (<bytes> why).decode())
        return 0

    cdef int body_bytes(self, const char *data, size_t n, uint64_t payload) except -1:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None:
            call.response_bytes(data, n, payload)
        return 0

    cdef int message_end(self) except -1:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None:
            call.response_end()
        return 0

    cdef int exchange_over(self) except -1:
        if self.ended:
            return 0
        if self.keep and not self.retired and queue_len(&self.out) == 0:
            self.read_on()
            self.rest()
        elif self.phase == AT_TUNNEL:
            self.send_end()             # after what is still to be sent
            if self.end_sent:
                self.fin_sent()
        else:
            self.finish("not to be used again")
        return 0

    # ---- ends ----

    cdef void fin_sent(self) noexcept:
        if self.call is None and self.ended_by_peer:
            self.finish("ended")
        elif self.call is None:
            self.plane.at(self, self.plane.now + LINGER_S)

    cdef bint peer_ended(self) noexcept:
        cdef Http1Call call = <Http1Call> self.call
        try:
            if call is not None and self.phase == AT_TUNNEL:
                call.tunnel_half_closed(self)
                return not self.ended
            if call is not None and self.phase == AT_BODY and self.body == UNTIL_CLOSE:
                self.keep = False
                call.response_end()
        except BaseException as error:
            self.plane.fault(error)
        self.finish("closed by the peer")
        return False

    def end_with(self, bint protocol, str why):
        """End the connection, and with it the call it carries."""
        cdef Http1Call call = <Http1Call> self.call
        self.call = None
        if call is not None:
            call.up_lost(protocol, why)
        self.finish(why)

    cdef int lost(self) except -1:
        cdef Http1Call call = <Http1Call> self.call
        self.forget_as_ours()
        self.endpoint.closed(self)
        self.call = None
        if call is not None:
            call.up_lost(False, self.why)
        return 0

    cdef void drained(self) noexcept:
        cdef Http1Call call = <Http1Call> self.call
        if call is not None and call.down is not None:
            call.down.read_on()

    cpdef int evict(self) except -1:
        self.retired = True
        if self.call is None:
            self.finish("the endpoint is removed")
        elif self.phase != AT_TUNNEL:
            self.plane.at(self, self.plane.now + GRACE_S)
        return 0

    cdef void fire(self, double now) noexcept:
        if self.ended:
            Http1Connection.fire(self, now)
        elif self.call is None:
            self.finish("idle")
        elif self.retired:
            self.finish("grace period over")
