"""One HTTP/2 connection: a libnghttp2 session between a transport's bytes and calls.

Owns the libnghttp2 session, flow-control settings, the flood meter, reading and flushing. Knows nothing of routes,
clusters or what a call does with its bytes: those are `Stream` (call.pyx) and the two subclasses (downstream.pyx,
upstream.pyx). RFC 9113, sections 3 to 6.

libnghttp2 holds pointers to the Session (as long as `ng` lives, which the Session owns) and to Streams (which `calls`
keeps alive until `detach` takes the pointer back). Its callbacks catch everything: a fault ends one stream and is
counted.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport realloc

from proxy.dataplane.connection cimport Connection
from proxy.dataplane.frames cimport (
    FRAME_TOKENS,
    PREFACE_BYTES,
    frames_count,
    frames_earn,
    frames_incomplete,
    frames_start,
)
from proxy.dataplane.headers cimport HeaderBlock, Kind, new_block
from proxy.dataplane.memory cimport pool_for_nghttp2
from proxy.dataplane.nghttp2 cimport *
from proxy.dataplane.plane cimport DataPlane

# Newer libraries count RST_STREAM and CONTINUATION frames themselves: they would cut a client that cancels 33 calls a
# second, or whose one message has more headers than the limit. We judge resets by what they cost (downstream.pyx), and
# headers by their size (on_header), so theirs are switched off where they exist.
cdef extern from *:
    """
    #include <nghttp2/nghttp2.h>
    extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t)
        __attribute__((weak));
    extern void nghttp2_option_set_max_continuations(nghttp2_option *, size_t) __attribute__((weak));
    static void lift_limits(nghttp2_option *option) {
        if (nghttp2_option_set_stream_reset_rate_limit)
            nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
        if (nghttp2_option_set_max_continuations)
            nghttp2_option_set_max_continuations(option, 100000);
    }
    """
    void lift_limits(nghttp2_option *option) nogil

cdef enum:
    FLUSH_BYTES = 64 * 1024         # what one write to the transport gathers at most, give or take a frame
    HEADER_TABLE_BYTES = 4096
    ERR_TOO_MANY_CONTINUATIONS = -905       # NGHTTP2_ERR_..., which older headers lack

cdef nghttp2_session_callbacks *callbacks = NULL
cdef nghttp2_option *options = NULL
cdef nghttp2_nv *scratch = NULL
cdef size_t scratch_len = 0


cdef nghttp2_nv *nv_scratch(size_t n) except NULL:
    """Room for n name/value pairs, good until the next call: libnghttp2 copies what is submitted."""
    global scratch, scratch_len
    cdef nghttp2_nv *grown
    if n > scratch_len:
        grown = <nghttp2_nv *> realloc(scratch, n * sizeof(nghttp2_nv))
        if grown == NULL:
            raise MemoryError
        scratch = grown
        scratch_len = n
    return scratch


cdef nghttp2_data_provider data_provider() noexcept:
    """The one source of DATA: it looks the call up by stream id, so it holds no pointer of its own."""
    cdef nghttp2_data_provider provider
    provider.source.ptr = NULL
    provider.read_callback = on_read
    return provider


# ---- libnghttp2's callbacks ----

cdef Stream stream_of(nghttp2_session *ng, int32_t stream_id):
    cdef void *found = nghttp2_session_get_stream_user_data(ng, stream_id)
    return None if found == NULL else <Stream> found


cdef int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    try:
        session.block = new_block(session.block_kind(frame))
    except BaseException as error:
        session.plane.fault(error)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    return 0


cdef int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                   uint8_t flags, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef HeaderBlock block = session.block
    if block is None:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    if block.add(name, value, flags, session.plane.limits.max_header_fields,
                 session.plane.limits.max_header_list_bytes) != 0:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    # A block far over the limit is not a mistake but an attack (a header bomb, endless CONTINUATION).
    if block.too_large and block.size > 8 * session.plane.limits.max_header_list_bytes:
        session.offence = "header_bomb"
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef HeaderBlock block
    cdef Stream stream
    try:
        if frame.hd.type == NGHTTP2_HEADERS:
            block = session.block
            session.block = None
            if block is not None:
                block.complete()
                session.headers(block, frame)
        elif frame.hd.type == NGHTTP2_DATA:
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                stream = stream_of(ng, frame.hd.stream_id)
                if stream is not None:
                    stream.received_end(session)
        else:
            session.other_frame(frame)
    except BaseException as error:
        session.plane.fault(error)
        if frame.hd.stream_id:
            session.reset(frame.hd.stream_id, NGHTTP2_INTERNAL_ERROR)
    return 0


cdef int on_data(nghttp2_session *ng, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t n,
                 void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef Stream stream
    # Connection credit goes back at once and the stream's own credit only when its bytes have moved on: any number of
    # stalled streams then costs a window each, and never holds up the streams beside them.
    nghttp2_session_consume_connection(ng, n)
    try:
        stream = stream_of(ng, stream_id)
        if stream is None:
            session.consume(stream_id, n)
        else:
            stream.received(session, data, n)
    except BaseException as error:
        session.plane.fault(error)
        session.reset(stream_id, NGHTTP2_INTERNAL_ERROR)
    return 0


cdef int on_stream_close(nghttp2_session *ng, int32_t stream_id, uint32_t code, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef Stream stream
    try:
        stream = stream_of(ng, stream_id)
        if stream is not None:
            stream.closed(session, code)
    except BaseException as error:
        session.plane.fault(error)
    return 0


cdef int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef Stream stream
    try:
        if frame.hd.type == NGHTTP2_HEADERS:
            stream = stream_of(ng, frame.hd.stream_id)
            if stream is not None:
                stream.sent_headers(session, (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        elif frame.hd.type == NGHTTP2_DATA:
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                stream = stream_of(ng, frame.hd.stream_id)
                if stream is not None:
                    stream.sent_end(session)
        elif frame.hd.type == NGHTTP2_GOAWAY:
            if frame.goaway.error_code != NGHTTP2_NO_ERROR:
                session.protocol_fault = True       # libnghttp2 has found that the peer broke HTTP/2
            session.goaway_sent()
        elif frame.hd.type == NGHTTP2_RST_STREAM:
            session.reset_sent(frame.hd.stream_id, frame.rst_stream.error_code)
    except BaseException as error:
        session.plane.fault(error)
    return 0


cdef ssize_t on_read(nghttp2_session *ng, int32_t stream_id, uint8_t *buffer, size_t most, uint32_t *flags,
                     nghttp2_data_source *source, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef Stream stream
    try:
        stream = stream_of(ng, stream_id)
        if stream is None:
            return NGHTTP2_ERR_DEFERRED
        return stream.pull(session, most, flags)
    except BaseException as error:
        session.plane.fault(error)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE


cdef int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *header, size_t n,
                      nghttp2_data_source *source, void *user_data) noexcept:
    cdef Session session = <Session> user_data
    cdef Stream stream
    try:
        stream = stream_of(ng, frame.hd.stream_id)
        if stream is None or session.plane.put(<const char *> header, 9) != 0:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        stream.emit(session, n)
        frames_earn(&session.frames, 2)
        return 0
    except BaseException as error:
        session.plane.fault(error)
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int prepare() except -1:
    global callbacks, options
    if nghttp2_session_callbacks_new(&callbacks) or nghttp2_option_new(&options):
        raise MemoryError
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data)
    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_no_http_messaging(options, 1)
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_option_set_max_outbound_ack(options, 2 * FRAME_TOKENS)      # frames.pxd judges floods
    nghttp2_option_set_peer_max_concurrent_streams(options, 100)
    # What we were willing to receive must also pass on the way out, whatever the configured limit is.
    nghttp2_option_set_max_send_header_block_length(options, 64 << 20)
    nghttp2_option_set_max_deflate_dynamic_table_size(options, HEADER_TABLE_BYTES)
    lift_limits(options)
    return 0


prepare()


cdef class Stream(Timed):
    cdef ssize_t pull(self, Session session, size_t most, uint32_t *flags) except? -1:
        """How many bytes can go out now (at most `most`), with libnghttp2's data flags; ERR_DEFERRED: none yet."""
        return NGHTTP2_ERR_DEFERRED

    cdef int emit(self, Session session, size_t n) except -1:
        """Put n bytes, which `pull` promised, into the plane's output."""
        return 0

    cdef int received(self, Session session, const uint8_t *data, size_t n) except -1:
        return 0

    cdef int received_end(self, Session session) except -1:
        return 0

    cdef int sent_headers(self, Session session, bint end_stream) except -1:
        return 0

    cdef int sent_end(self, Session session) except -1:
        return 0

    cdef int closed(self, Session session, uint32_t code) except -1:
        return 0

    cdef int session_lost(self, Session session, bint protocol, str why) except -1:
        return 0


cdef class Session(Connection):
    def __cinit__(self, *args, **kwargs):
        self.calls = set()

    def __dealloc__(self):
        if self.ng != NULL:
            nghttp2_session_del(self.ng)

    cdef int start(self, bint server) except -1:
        """Make the libnghttp2 session and queue our preface."""
        cdef nghttp2_settings_entry[6] settings
        cdef size_t n = 0
        cdef int error
        if server:
            error = nghttp2_session_server_new3(&self.ng, callbacks, <void *> self, options, pool_for_nghttp2())
        else:
            error = nghttp2_session_client_new3(&self.ng, callbacks, <void *> self, options, pool_for_nghttp2())
        if error:
            raise MemoryError
        settings[n].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        settings[n].value = STREAM_WINDOW_BYTES
        n += 1
        settings[n].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        settings[n].value = self.plane.limits.max_header_list_bytes
        n += 1
        if server:
            settings[n].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
            settings[n].value = self.plane.limits.max_concurrent_streams
            n += 1
            settings[n].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
            settings[n].value = 1
            n += 1
        else:
            settings[n].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
            settings[n].value = 0
            n += 1
        nghttp2_submit_settings(self.ng, NGHTTP2_FLAG_NONE, settings, n)
        nghttp2_session_set_local_window_size(self.ng, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES)
        frames_start(&self.frames, PREFACE_BYTES if server else 0, self.plane.now)
        return 0

    # ---- receiving ----

    cdef void receive(self, const uint8_t *data, size_t n) noexcept:
        cdef ssize_t used
        if self.ended or self.lingering:
            return
        if not frames_count(&self.frames, data, n, self.plane.now):
            self.cut("flood")
            return
        used = nghttp2_session_mem_recv(self.ng, data, n)
        if used < 0:
            self.protocol_fault = True
            if self.offence is not None:
                self.cut(self.offence)
            elif used == NGHTTP2_ERR_FLOODED or used == ERR_TOO_MANY_CONTINUATIONS:
                self.cut("flood")
            else:
                self.finish((<bytes> nghttp2_strerror(<int> used)).decode())
            return
        self.touch()
        if self.block is not None or frames_incomplete(&self.frames):
            if not self.want_timer and not self.evicted:
                self.want_timer = True
                self.plane.at(self, self.plane.now + self.plane.limits.header_timeout_s)
        elif self.want_timer and self.settled and not self.evicted:
            self.want_timer = False
            self.plane.cancel(self)

    cdef void fire(self, double now) noexcept:
        if self.ended:
            Connection.fire(self, now)
        else:
            self.cut("slow")

    cdef Kind block_kind(self, const nghttp2_frame *frame) except *:
        """Which rules the header block that begins follows."""
        raise AssertionError

    cdef int headers(self, HeaderBlock block, const nghttp2_frame *frame) except -1:
        """A header block is complete."""
        return 0

    cdef int other_frame(self, const nghttp2_frame *frame) except -1:
        """A frame that is neither HEADERS nor DATA; those unknown are ignored."""
        return 0

    cdef int reset_sent(self, int32_t stream_id, uint32_t code) except -1:
        return 0

    cdef int goaway_sent(self) except -1:
        return 0

    # ---- what calls ask for ----

    cdef void consume(self, int32_t stream_id, size_t n) noexcept:
        """n bytes of this stream moved on: its sender may send as many again."""
        if not self.ended:
            nghttp2_session_consume_stream(self.ng, stream_id, n)
            self.touch()

    cdef void reset(self, int32_t stream_id, uint32_t code) noexcept:
        if not self.ended:
            nghttp2_submit_rst_stream(self.ng, NGHTTP2_FLAG_NONE, stream_id, code)
            self.touch()

    cdef void resume(self, int32_t stream_id) noexcept:
        if not self.ended:
            nghttp2_session_resume_data(self.ng, stream_id)
            self.touch()

    cdef void detach(self, Stream call, int32_t stream_id) noexcept:
        """The call has nothing to do with this stream any more."""
        if not self.ended:
            nghttp2_session_set_stream_user_data(self.ng, stream_id, NULL)
        self.calls.discard(call)
        self.released()

    cdef void released(self) noexcept:
        """One call fewer runs here."""

    cdef object endpoint(self):
        """The Endpoint of an upstream session."""
        return None

    cdef void call_over(self, double age_s, bint cancelled) noexcept:
        """A call of this downstream session ended; `cancelled`: by its client."""

    cdef int retire(self) except -1:
        """Take no new calls; close when those that run have ended."""
        self.retired = True
        return 0

    # ---- sending ----

    cdef void flush(self) noexcept:
        while not self.ended and not self.paused and self.fill():
            self.write(self.plane.out, self.plane.out_len)
        if self.offence is not None:
            self.cut(self.offence)
        elif not self.ended and not nghttp2_session_want_read(self.ng) and not nghttp2_session_want_write(self.ng):
            self.done()             # libnghttp2 has sent or received a GOAWAY and has no streams left

    cdef bint fill(self) noexcept:
        """Gather frames into the plane's output. False: there is nothing to send."""
        cdef const uint8_t *data
        cdef ssize_t n
        cdef DataPlane plane = self.plane
        plane.out_len = 0
        while plane.out_len < FLUSH_BYTES:
            n = nghttp2_session_mem_send(self.ng, &data)
            if n == 0:
                break
            if n < 0 or plane.put(<const char *> data, n) != 0:
                self.protocol_fault = True
                self.finish("cannot send: " + (<bytes> nghttp2_strerror(<int> min(n, 0))).decode())
                return False
        return plane.out_len > 0

    # ---- the end ----

    cdef void done(self) noexcept:
        """No stream is left, and none will come."""
        self.finish("ended")

    cdef void cut(self, str reason) noexcept:
        """End a connection whose peer abuses it; its calls end at once."""
        if self.ended:
            return
        self.count_cut(reason)
        self.protocol_fault = True
        nghttp2_session_terminate_session(self.ng, NGHTTP2_ENHANCE_YOUR_CALM)
        if not self.paused and self.fill():
            self.write(self.plane.out, self.plane.out_len)
        self.finish(reason)

    cdef void count_cut(self, str reason) noexcept:
        """The peer is cut: say so."""

    cdef int lost(self) except -1:
        cdef Stream call
        calls, self.calls = self.calls, set()
        for call in calls:
            try:
                call.session_lost(self, self.protocol_fault, self.why)
            except BaseException as error:
                self.plane.fault(error)
        return 0


def libnghttp2_version():
    """The version of the libnghttp2 that is loaded, such as "1.52.0"."""
    return (<bytes> nghttp2_version(0).version_str).decode()
