"""An HTTP/2 connection from a client: the server's side. Each request becomes a Call; abuse ends the connection."""

from libc.stdint cimport int32_t, uint32_t

from proxy.dataplane.failure cimport INTERNAL, LOOP
from proxy.dataplane.headers cimport REQUEST, TRAILERS, HeaderBlock, Kind
from proxy.dataplane.http2call cimport Http2Call, new_call
from proxy.dataplane.nghttp2 cimport *
from proxy.dataplane.route cimport Origin, Router
from proxy.dataplane.session cimport Session

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, int *value)

cdef extern from "<linux/sockios.h>" nogil:
    enum:
        SIOCOUTQ                # bytes that the peer has not acknowledged

cdef enum:
    LINGER_S = 2                # how long a client may take to close when it has everything
    RESET_TOKENS = 1000         # burst; a call that ends well earns one
    RESET_TOKENS_PER_S = 100
    OFFENCE = 10                # what a reset of ours for a malformed frame costs its sender (MadeYouReset)

cdef double RAPID_S = 0.05      # a call cancelled sooner than this was not worth starting (rapid reset)


cdef class DownstreamSession(Session):
    def __init__(self, Router router, Origin origin):
        self.plane = router.plane
        self.router = router
        self.origin = origin

    cdef int opened(self) except -1:
        self.plane.downstreams.add(self)
        self.start(True)
        self.capacity = self.plane.limits.max_concurrent_streams
        self.resets = RESET_TOKENS
        self.resets_at = self.plane.now
        # The preface is due like any header: fire() cuts who is slow with it.
        self.want_timer = True
        self.plane.at(self, self.plane.now + self.plane.limits.header_timeout_s)

    cdef Kind block_kind(self, const nghttp2_frame *frame) except *:
        return REQUEST if frame.headers.cat == NGHTTP2_HCAT_REQUEST else TRAILERS

    cdef int headers(self, HeaderBlock block, const nghttp2_frame *frame) except -1:
        cdef int32_t stream_id = frame.hd.stream_id
        cdef bint end_stream = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0
        cdef void *found
        cdef Http2Call call
        if block.kind == TRAILERS:
            found = nghttp2_session_get_stream_user_data(self.ng, stream_id)
            if found != NULL:
                if end_stream:
                    (<Http2Call> found).request_trailer(block)
                else:
                    self.reset(stream_id, NGHTTP2_PROTOCOL_ERROR)
            return 0
        if block.error != NULL:
            self.plane.malformed += 1
            self.reset(stream_id, NGHTTP2_PROTOCOL_ERROR)
            return 0
        call = new_call(self.router, self, stream_id, block, self.origin)
        try:
            if not self.loop_known:
                self.loop_known = True
                self.looped = self.comes_from_us()
            if self.looped:
                call.find_route()
                call.fail(LOOP, b"this connection comes from the proxy itself: an endpoint is its own listener")
            else:
                call.begin(end_stream)
        except BaseException as error:
            self.plane.fault(error)
            call.fail(INTERNAL, b"fault in the proxy")
        return 0

    cdef int other_frame(self, const nghttp2_frame *frame) except -1:
        if frame.hd.type == NGHTTP2_SETTINGS:
            self.settled = True
        elif self.draining and frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
            # Whatever the client had sent before it saw the first GOAWAY is here now.
            nghttp2_submit_goaway(self.ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.ng),
                                  NGHTTP2_NO_ERROR, NULL, 0)
        return 0

    # ---- abuse (semantics: 9) ----

    cdef void count_cut(self, str reason) noexcept:
        self.plane.cuts[reason] = self.plane.cuts.get(reason, 0) + 1
        self.plane.note("client on listener %s cut: %s" % (self.origin.listener, reason))

    cdef bint spend(self, double tokens) noexcept:
        self.resets = min(self.resets + (self.plane.now - self.resets_at) * RESET_TOKENS_PER_S, <double> RESET_TOKENS)
        self.resets_at = self.plane.now
        self.resets -= tokens
        if self.resets < 0:
            self.offence = "resets"
            self.touch()
        return self.resets >= 0

    cdef void call_over(self, double age_s, bint cancelled) noexcept:
        if not cancelled:
            self.resets = min(self.resets + 1, <double> RESET_TOKENS)
        elif age_s < RAPID_S:
            self.spend(1)

    cdef int reset_sent(self, int32_t stream_id, uint32_t code) except -1:
        if code == NGHTTP2_REFUSED_STREAM:
            if nghttp2_session_get_stream_user_data(self.ng, stream_id) == NULL:
                self.spend(1)       # more streams than we allow; one that has a call is refused for its endpoint's sake
        elif code == NGHTTP2_PROTOCOL_ERROR or code == NGHTTP2_FLOW_CONTROL_ERROR or code == NGHTTP2_STREAM_CLOSED:
            self.spend(OFFENCE)
        return 0

    # ---- drain (semantics: 5) ----

    def drain(self):
        """GOAWAY that promises all streams so far, then (a round trip later) one that ends the connection."""
        self.plane.turn(self._drain)

    def _drain(self):
        if not self.draining and not self.ended and self.ng != NULL:
            self.draining = True
            nghttp2_submit_shutdown_notice(self.ng)
            self.touch()

    cdef void done(self) noexcept:
        """A client that still reads answers with frames, and a reset for those could overtake what it has not read yet:
        so FIN first, as RFC 9112, section 9.6, has it, and the end when everything has arrived."""
        if not self.draining or self.protocol_fault:
            self.finish("ended")
        elif not self.paused and not self.lingering and self.is_open():
            self.lingering = True
            try:
                self.transport.write_eof()
                self.plane.at(self, self.plane.now + LINGER_S)
            except BaseException as error:
                self.finish("cannot send FIN: %s" % error)

    cdef void fire(self, double now) noexcept:
        cdef int unread = 0
        if self.ended or not self.lingering:
            Session.fire(self, now)
        elif self.fd >= 0 and ioctl(self.fd, SIOCOUTQ, &unread) == 0 and unread > 0:
            self.plane.at(self, now + LINGER_S)
        else:
            self.finish("ended")

    cdef int goaway_sent(self) except -1:
        # Not before: libnghttp2 sends a PING ahead of what is queued, and its ACK must come after the GOAWAY was read.
        if self.draining and not self.pinged:
            self.pinged = True
            nghttp2_submit_ping(self.ng, NGHTTP2_FLAG_NONE, NULL)
        return 0

    @property
    def idle(self):
        """Whether it may be closed without anyone missing it: its peer is told first, and then it ends by itself."""
        return False

    def close(self, str why="closed by the proxy"):
        """Now: calls that run are cancelled."""
        self.plane.turn(self._close, why)

    def _close(self, str why):
        self.finish(why)
