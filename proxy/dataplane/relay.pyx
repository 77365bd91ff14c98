"""A TCP connection passed through: two ends, and what one receives the other sends.

A Relay is a Call: its endpoint is picked by the cluster's balancer over open connections and connect times, and its
bytes and end are counted. Bytes go from socket to socket, straight out of the read buffer; an end that cannot send
holds up the other one's reading. FIN passes each way on its own, a reset (or a lost connection) ends both at once.

The client's end may come later than the endpoint's: on a silent connection the endpoint is dialled to see whether it is
the one that speaks first (semantics: 10), and until then nobody knows that the connection is to be relayed.
"""

from libc.stdint cimport uint8_t

from proxy.dataplane.byteconnection cimport ByteConnection
from proxy.dataplane.bytequeue cimport queue_len, queue_peek, queue_pop, queue_push
from proxy.dataplane.call cimport Call, Dial
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport *
from proxy.dataplane.nghttp2 cimport nghttp2_vec
from proxy.dataplane.route cimport Origin, Router


cdef bint begins_http2(const uint8_t *data, size_t n) noexcept:
    """Whether it is what an HTTP/2 server says without being asked: SETTINGS on stream 0, no ACK (RFC 9113, 3.4)."""
    return n >= 9 and data[0] == 0 and data[3] == 4 and not (data[4] | data[5] | data[6] | data[7] | data[8])


cdef class RelayEnd(ByteConnection):
    """One of a relay's two connections. The upstream one is made with the `Dial` of its call, or with None to see
    whether its endpoint can be reached; the downstream one by `Relay.connection`."""

    def __init__(self, Endpoint endpoint, Dial dial=None):
        self.plane = endpoint.cluster.plane
        self.endpoint = endpoint
        self.dial = dial

    cdef int opened(self) except -1:
        cdef Dial dial
        if self.endpoint is None:
            self.plane.downstreams.add(self)
            if self.relay is None:
                self.abort("no endpoint")       # as it would be without us
                return 0
            return self.relay.deliver()
        self.know_as_ours()
        self.endpoint.opened(self)
        dial, self.dial = self.dial, None
        if dial is None or not dial.is_wanted():
            self.finish("not needed")
        else:
            self.relay = <Relay> dial.call
            self.relay.attach(self)
        self.endpoint.reached()
        return 0

    cdef void receive(self, const uint8_t *data, size_t n) noexcept:
        if self.relay is None or self.ended:
            return
        try:
            self.relay.moved(self, data, n)
        except BaseException as error:
            self.plane.fault(error)
            self.abort("fault in the proxy")

    cdef bint peer_ended(self) noexcept:
        try:
            self.ended_by_peer = True
            if self.relay is not None and not self.ended:
                self.relay.half_closed(self)
                return not self.ended
        except BaseException as error:
            self.plane.fault(error)
        self.finish("closed by the peer")
        return False

    cdef void fin_sent(self) noexcept:
        try:
            if self.relay is not None:
                self.relay.fin_sent()
        except BaseException as error:
            self.plane.fault(error)

    cdef void drained(self) noexcept:
        if self.other is not None:
            self.other.read_on()

    cdef int lost(self) except -1:
        cdef Relay relay = self.relay
        self.relay = None
        if self.endpoint is not None:
            self.endpoint.closed(self)
            self.forget_as_ours()
        if relay is not None:
            relay.end_lost(self)
        self.other = None
        return 0

    # ---- as a downstream connection ----

    @property
    def idle(self):
        """Whether it may be closed without anyone missing it: who knows."""
        return False

    def drain(self):
        """There is no way to tell its client."""

    def close(self, str why="closed by the proxy"):
        self.plane.turn(self._close, why)

    def _close(self, str why):
        self.finish(why)


cdef class Relay(Call):
    """`server_name` is TLS's, "" where there is none: routes may go by it, and metrics show it as the authority."""

    def __init__(self, Router router, Origin origin, str server_name=""):
        self.start(router, origin)
        self.server_name = server_name

    # ---- what the listener does ----

    def begin(self, on_server_first=None):
        """Pick an endpoint and dial it. `on_server_first` is called when it speaks before a client's end is there."""
        self.on_server_first = on_server_first
        self.plane.turn(self._begin)

    def _begin(self):
        cdef nghttp2_vec name, path
        cdef bytes text = self.server_name.encode()
        name.base = <uint8_t *> <char *> text
        name.len = len(text)
        path.base = NULL
        path.len = 0
        self.route = self.router.find(self.origin, c't', name, path)
        if not self.route.found:
            self.fail(NO_ENDPOINT, b"no route")
        elif self.plane.calls > self.plane.limits.max_calls:
            self.fail(OVERLOADED, b"too many calls")
        else:
            self.cluster = self.route.choose(self.plane)
            self.attempt(None)

    def connection(self):
        """The client's end, for the transport. AssertionError when there is one already."""
        cdef RelayEnd down = RelayEnd.__new__(RelayEnd)
        assert self.down is None
        down.plane = self.plane
        down.origin = self.origin
        if not self.finished:
            down.relay = self
            down.other = self.up
            self.down = down
        return down

    cdef int deliver(self) except -1:
        """The client's end is there: it gets what the endpoint said before."""
        if self.up is None:
            return 0
        self.up.other = self.down
        self.down.queue(queue_peek(&self.response_body.queue), queue_len(&self.response_body.queue))
        queue_pop(&self.response_body.queue, queue_len(&self.response_body.queue))
        self.up.read_on()
        if self.up.ended_by_peer:
            self.down.send_end()
        return 0

    def abandon(self):
        """It is no TCP connection after all: it speaks HTTP."""
        self.plane.turn(self._abandon)

    def _abandon(self):
        self.on_server_first = None
        self.classification = CANCELLED
        self.over()

    @property
    def is_over(self):
        return self.finished

    # ---- attempts ----

    cdef int attempt(self, Endpoint exclude) except -1:
        cdef Endpoint endpoint = self.cluster.pick_endpoint(exclude)
        if endpoint is None:
            return self.cluster.park(self)
        self.begin_attempt(endpoint)
        return self.dial_for(endpoint)

    cdef int attach(self, RelayEnd up) except -1:
        self.dial = None
        self.up = up
        self.headers_at = self.plane.now
        self.observe(False, self.plane.now)             # the time to connect is the endpoint's sample
        up.other = self.down
        if self.down is not None:
            self.down.other = up
            self.down.read_on()
        up.queue(queue_peek(&self.request_body.queue), queue_len(&self.request_body.queue))
        queue_pop(&self.request_body.queue, queue_len(&self.request_body.queue))
        if self.down is not None and self.down.ended_by_peer:
            up.send_end()
        return 0

    # ---- bytes ----

    cdef int moved(self, RelayEnd source, const uint8_t *data, size_t n) except -1:
        cdef RelayEnd other = source.other
        if source is self.down:
            self.request_body.total += n
            if other is None:
                source.hold()
                if queue_push(&self.request_body.queue, <const char *> data, n) != 0:
                    raise MemoryError
                return 0
        else:
            self.response_body.total += n
            if other is None:
                source.hold()
                if queue_push(&self.response_body.queue, <const char *> data, n) != 0:
                    raise MemoryError
                # A greeting that is HTTP/2's decides nothing: the client's preface, which must come, is looked at then.
                return 0 if begins_http2(data, n) else self.server_first()
        other.send(<const char *> data, n)
        if other.full():
            source.hold()
        return 0

    def server_first(self):
        """The endpoint speaks first (or ends first): this is no HTTP."""
        call, self.on_server_first = self.on_server_first, None
        if call is not None:
            self.plane.loop.call_soon(call)             # after this turn
        return 0

    cdef int half_closed(self, RelayEnd source) except -1:
        if source.other is not None:
            source.other.send_end()
        elif source is self.up:
            self.server_first()
        return 0

    cdef int fin_sent(self) except -1:
        """One end has sent all it had to, with its FIN; when both have, that is all."""
        if self.up is not None and self.down is not None and self.up.end_sent and self.down.end_sent:
            return self.over()
        return 0

    # ---- the end ----

    cdef int end_lost(self, RelayEnd end) except -1:
        """A connection is gone. After both FINs that is how it ends; else what was on its way is lost."""
        if not end.ended_by_peer or not end.end_sent:
            if end is self.down:
                self.classification = CANCELLED
            elif self.flag == NONE:
                self.classification = FAILURE
                self.flag = UPSTREAM_LOST
        return self.over()

    cdef int fail(self, Flag flag, bytes why) except -1:
        """No endpoint could be connected to: the client learns of it as it would without a proxy, by a reset."""
        if self.finished:
            return 0
        self.flag = flag
        self.why = why
        self.classification = FAILURE
        if self.route is not None and not self.route.found:
            self.on_server_first = None     # a client that has said nothing yet may speak what does have a route
        return self.over()

    cdef int over(self) except -1:
        cdef RelayEnd up = self.up, down = self.down, end
        cdef bint whole = self.classification == SUCCESS
        if self.finished:
            return 0
        self.leave_endpoint()
        if self.waiting:
            self.cluster.unpark(self)
        self.dial = None
        self.up = self.down = None
        self.server_first()         # a client whose end is not there yet is told by the end of its connection
        self.finish()
        for end in (down, up):
            if end is not None:
                end.relay = None
                if whole:
                    end.finish("ended")
                else:
                    end.abort("the other end was lost")
        return 0

    cdef str protocol(self):
        return "tcp"

    cdef tuple describe(self):
        return self.server_name or self.origin.destination, "", ""
