"""An HTTP/2 connection to an endpoint: the client's side. Ready when the peer's SETTINGS are there (RFC 9113, 3.4)."""

from libc.stdint cimport uint32_t

from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.headers cimport RESPONSE, TRAILERS, HeaderBlock, Kind
from proxy.dataplane.http2call cimport Http2Call
from proxy.dataplane.nghttp2 cimport *
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.session cimport Session

cdef enum:
    GRACE_S = 30        # how long a connection to a removed endpoint may finish its calls


cdef class UpstreamSession(Session):
    """`on_ready(session, error)` is called once: error is None when the session takes calls, else why it never will."""

    def __init__(self, DataPlane plane, Endpoint endpoint, on_ready):
        self.plane = plane
        self.target = endpoint
        self.on_ready = on_ready

    cdef object endpoint(self):
        return self.target

    cdef int opened(self) except -1:
        self.start(False)
        self.know_as_ours()

    cdef Kind block_kind(self, const nghttp2_frame *frame) except *:
        cdef void *found = nghttp2_session_get_stream_user_data(self.ng, frame.hd.stream_id)
        if found != NULL and (<Http2Call> found).headers_at >= 0:
            return TRAILERS
        return RESPONSE

    cdef int headers(self, HeaderBlock block, const nghttp2_frame *frame) except -1:
        cdef void *found = nghttp2_session_get_stream_user_data(self.ng, frame.hd.stream_id)
        if found != NULL:
            (<Http2Call> found).response(block, (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        return 0

    cdef int other_frame(self, const nghttp2_frame *frame) except -1:
        cdef uint32_t limit
        if frame.hd.type == NGHTTP2_SETTINGS and not frame.hd.flags & NGHTTP2_FLAG_ACK:
            limit = nghttp2_session_get_remote_settings(self.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
            self.settled = True
            self.capacity = min(limit, 0x7FFFFFFF)
            if not self.is_ready:
                self.is_ready = True
                self.settle(None)
                self.target.session_ready(self)
            elif not self.retired:
                self.target.cluster.endpoint_room(self.target)
        elif frame.hd.type == NGHTTP2_GOAWAY:
            # libnghttp2 closes the streams above the last id as refused, which retries them.
            self.plane.note("endpoint %s: GOAWAY, code %d, last stream %d, %r" % (
                self.target.address, frame.goaway.error_code, frame.goaway.last_stream_id,
                <bytes> frame.goaway.opaque_data[:min(frame.goaway.opaque_data_len, <size_t> 200)]))
            self.retire()
        return 0

    cdef void settle(self, str error):
        if not self.reported:
            self.reported = True
            self.on_ready(self, error)

    cdef int retire(self) except -1:
        """The calls that run have all the time that they and the endpoint take: a GOAWAY promises to finish them."""
        if not self.retired:
            self.retired = True
            if self.is_ready:
                self.target.session_retired(self)
            self.released()
        return 0

    cpdef int evict(self) except -1:
        if not self.evicted and not self.ended:
            self.evicted = True
            self.plane.at(self, self.plane.now + GRACE_S)
        return self.retire()

    cdef void fire(self, double now) noexcept:
        if self.evicted and not self.ended:
            self.finish("grace period over")
        else:
            Session.fire(self, now)

    cdef void count_cut(self, str reason) noexcept:
        self.plane.note("endpoint %s cut: %s" % (self.target.address, reason))

    cdef void released(self) noexcept:
        if self.ended:
            return
        if self.retired:
            if not self.calls:
                nghttp2_session_terminate_session(self.ng, NGHTTP2_NO_ERROR)
                self.touch()
        elif self.target.cluster.has_waiters():
            self.target.cluster.endpoint_room(self.target)

    cdef int lost(self) except -1:
        # First out of the balancer, so that no call is retried here.
        self.forget_as_ours()
        if self.is_ready and not self.retired:
            self.plane.note("endpoint %s: connection lost, %d calls on it: %s" % (
                self.target.address, len(self.calls), self.why))
        self.retired = True
        if self.is_ready:
            self.is_ready = False
            self.target.session_closed(self)
        self.settle(self.why)
        return Session.lost(self)
