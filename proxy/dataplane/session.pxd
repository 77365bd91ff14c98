from libc.stdint cimport int32_t, uint8_t, uint32_t

from proxy.dataplane.connection cimport Connection
from proxy.dataplane.frames cimport FrameMeter
from proxy.dataplane.headers cimport HeaderBlock, Kind
from proxy.dataplane.nghttp2 cimport (
    nghttp2_data_provider,
    nghttp2_frame,
    nghttp2_nv,
    nghttp2_session,
)
from proxy.dataplane.plane cimport Timed

cdef enum:
    STREAM_WINDOW_BYTES = 65536
    CONNECTION_WINDOW_BYTES = 1 << 20
    MAX_STREAM_ID = 0x7FFFFF00      # a new connection is dialled before stream ids run out


cdef class Stream(Timed):
    """What a session needs to know of a call: it asks for bytes, and says what became of the stream."""
    cdef ssize_t pull(self, Session session, size_t most, uint32_t *flags) except? -1
    cdef int emit(self, Session session, size_t n) except -1
    cdef int received(self, Session session, const uint8_t *data, size_t n) except -1
    cdef int received_end(self, Session session) except -1
    cdef int sent_headers(self, Session session, bint end_stream) except -1
    cdef int sent_end(self, Session session) except -1
    cdef int closed(self, Session session, uint32_t code) except -1
    cdef int session_lost(self, Session session, bint protocol, str why) except -1


cdef class Session(Connection):
    cdef nghttp2_session *ng
    cdef bint protocol_fault            # the peer broke HTTP/2
    cdef bint want_timer
    cdef bint lingering                 # we have sent FIN, and the peer may still be reading: what it sends is dropped
    cdef bint settled                   # the peer's preface is complete: its SETTINGS are there
    cdef str offence                    # why its peer is to be cut, noticed inside a callback
    cdef readonly set calls             # Streams; keeps what libnghttp2 points to alive
    cdef HeaderBlock block              # being received
    cdef FrameMeter frames
    cdef readonly long capacity         # calls it can carry at a time
    cdef readonly bint retired          # takes no new calls
    cdef bint evicted                   # its timer is the end of the grace period

    cdef int start(self, bint server) except -1
    cdef int retire(self) except -1
    cdef void consume(self, int32_t stream_id, size_t n) noexcept
    cdef void reset(self, int32_t stream_id, uint32_t code) noexcept
    cdef void resume(self, int32_t stream_id) noexcept
    cdef void detach(self, Stream call, int32_t stream_id) noexcept
    cdef void count_cut(self, str reason) noexcept
    cdef void done(self) noexcept
    cdef void cut(self, str reason) noexcept
    cdef Kind block_kind(self, const nghttp2_frame *frame) except *
    cdef int headers(self, HeaderBlock block, const nghttp2_frame *frame) except -1
    cdef int other_frame(self, const nghttp2_frame *frame) except -1
    cdef int reset_sent(self, int32_t stream_id, uint32_t code) except -1
    cdef int goaway_sent(self) except -1
    cdef void released(self) noexcept
    cdef object endpoint(self)
    cdef void call_over(self, double age_s, bint cancelled) noexcept
    cdef bint fill(self) noexcept


cdef nghttp2_data_provider data_provider() noexcept
cdef nghttp2_nv *nv_scratch(size_t n) except NULL
