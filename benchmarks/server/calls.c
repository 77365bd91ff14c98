/* Calls: which answer a request gets, when it is due, and the frames it is made of. */
#include "server.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>

enum {
    PREFIX_BYTES = 5, /* gRPC's length prefix: one flag byte, four of length */
    STREAM_MESSAGE_BYTES = 16384,
};

uint64_t calls_done, first_call_ns, last_call_ns, streams_open, delay_ns;

static TAILQ_HEAD(delayed, call) delayed = TAILQ_HEAD_INITIALIZER(delayed);
static struct message unary_message, stream_message;
static uint64_t stream_total_bytes;
static int timer_fd;

static void make_message(struct message *message, size_t payload_bytes) {
    message->length = PREFIX_BYTES + payload_bytes;
    message->bytes = calloc(1, message->length);
    must(message->bytes != NULL, "calloc");
    uint32_t length = htonl((uint32_t)payload_bytes);
    memcpy(message->bytes + 1, &length, sizeof length);
}

void prepare_answers(int timer, uint64_t reply_bytes, uint64_t stream_bytes) {
    timer_fd = timer;
    make_message(&unary_message, reply_bytes);
    make_message(&stream_message, STREAM_MESSAGE_BYTES);
    uint64_t messages = (stream_bytes + STREAM_MESSAGE_BYTES - 1) / STREAM_MESSAGE_BYTES;
    stream_total_bytes = messages * stream_message.length;
}

void free_answers(void) {
    free(unary_message.bytes);
    free(stream_message.bytes);
}

#define FIELD(name, value)                                                                         \
    {                                                                                              \
        (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1,                \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                           \
    }

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *out, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user_data) {
    static const nghttp2_nv trailers[] = {FIELD("grpc-status", "0")};
    struct call *call = source->ptr;
    const struct message *message = call->message;
    size_t written = 0;
    (void)user_data;
    while (written < room && call->sent_bytes < call->total_bytes) {
        size_t offset = call->sent_bytes % message->length;
        size_t part = message->length - offset;
        if (part > room - written) part = room - written;
        memcpy(out + written, message->bytes + offset, part);
        written += part;
        call->sent_bytes += part;
    }
    if (call->sent_bytes < call->total_bytes) return (ssize_t)written;
    if (call->answer == HOLD) return written > 0 ? (ssize_t)written : NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    /* Submitted earlier, the trailers would overtake the body. */
    if (nghttp2_submit_trailer(session, stream_id, trailers, 1) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return (ssize_t)written;
}

static void answer(struct call *call) {
    static const nghttp2_nv headers[] = {
        FIELD(":status", "200"),
        FIELD("content-type", "application/grpc"),
    };
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_body};
    call->message = call->answer == STREAM ? &stream_message : &unary_message;
    call->total_bytes = call->answer == STREAM ? stream_total_bytes : call->message->length;
    nghttp2_submit_response(call->connection->session, call->stream_id, headers, 2, &body);
    mark_dirty(call->connection);
}

static void set_timer(void) {
    struct itimerspec at = {0};
    struct call *first = TAILQ_FIRST(&delayed);
    if (first != NULL) {
        at.it_value.tv_sec = (time_t)(first->due_ns / 1000000000u);
        at.it_value.tv_nsec = (long)(first->due_ns % 1000000000u);
    }
    must(timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0, "timerfd_settime");
}

void answer_due(void) {
    struct call *call;
    uint64_t now = now_ns();
    while ((call = TAILQ_FIRST(&delayed)) != NULL && call->due_ns <= now) {
        TAILQ_REMOVE(&delayed, call, in_delayed);
        call->delayed = false;
        answer(call);
    }
    set_timer();
}

static void request_complete(struct call *call) {
    last_call_ns = now_ns();
    if (calls_done++ == 0) first_call_ns = last_call_ns;
    if (call->answer != UNARY || delay_ns == 0) {
        answer(call);
        return;
    }
    /* One delay for all, and it only ever grows: the order of arrival is the order of being due. */
    call->due_ns = last_call_ns + delay_ns;
    call->delayed = true;
    bool first = TAILQ_EMPTY(&delayed);
    TAILQ_INSERT_TAIL(&delayed, call, in_delayed);
    if (first) set_timer();
}

void forget_call(struct call *call) {
    LIST_REMOVE(call, in_connection);
    if (call->delayed) TAILQ_REMOVE(&delayed, call, in_delayed);
    free(call);
    streams_open--;
}

/* ---- libnghttp2's callbacks ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) {
    struct connection *connection = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL) return NGHTTP2_ERR_CALLBACK_FAILURE;
    call->connection = connection;
    call->stream_id = frame->hd.stream_id;
    LIST_INSERT_HEAD(&connection->calls, call, in_connection);
    streams_open++;
    nghttp2_session_set_stream_user_data(session, call->stream_id, call);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *user_data) {
    static const char stream[] = "/bench.Bench/Stream", hold[] = "/bench.Bench/Hold";
    (void)flags, (void)user_data;
    if (name_bytes != 5 || memcmp(name, ":path", 5) != 0) return 0;
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call == NULL) return 0;
    if (value_bytes == sizeof stream - 1 && memcmp(value, stream, value_bytes) == 0)
        call->answer = STREAM;
    else if (value_bytes == sizeof hold - 1 && memcmp(value, hold, value_bytes) == 0)
        call->answer = HOLD;
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) {
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
        on_ping_ack(user_data);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call != NULL) request_complete(call);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code,
                           void *user_data) {
    (void)code, (void)user_data;
    struct call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) forget_call(call);
    return 0;
}

void set_call_callbacks(nghttp2_session_callbacks *callbacks) {
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
