/* A gRPC server that costs as little as possible, so that what is measured is the proxy before it.
 *
 * HTTP/2 with prior knowledge (RFC 9113, section 3.3) over libnghttp2 and epoll, in one thread.
 * It answers by path and looks at nothing else of a request:
 *
 *   /bench.Bench/Stream   --stream-bytes of messages of 16 KiB, under flow control
 *   /bench.Bench/Hold     headers and one message, then silence: the stream stays open
 *   any other path        one message of --reply-bytes, --delay-us after the request is complete
 *
 * SIGUSR1 prints "calls=N open=N" (requests completed so far, streams open now), SIGUSR2 switches
 * to --slow-delay-us, SIGTERM prints the same line, frees everything and exits with 0. The first
 * line printed is "port=N", for --port 0 lets the kernel choose.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    PREFIX_BYTES = 5, /* gRPC's length prefix: one flag byte, four of length */
    STREAM_MESSAGE_BYTES = 16384,
    STREAM_WINDOW_BYTES = 1 << 20,
    CONNECTION_WINDOW_BYTES = 1 << 24,
    READ_BYTES = 1 << 16,
    WRITE_BYTES = 1 << 18,
    EVENTS = 256,
};

enum answer { UNARY, STREAM, HOLD };

/* A message as it goes over the wire, prefix and payload; what is streamed is this, repeated. */
struct message {
    uint8_t *bytes;
    size_t length;
};

struct connection;

struct call {
    LIST_ENTRY(call) in_connection;
    TAILQ_ENTRY(call) in_delayed;
    struct connection *connection;
    int32_t stream_id;
    enum answer answer;
    bool delayed;
    uint64_t due_ns;
    uint64_t sent_bytes;
    uint64_t total_bytes;
    const struct message *message;
};

struct connection {
    LIST_ENTRY(connection) all;
    TAILQ_ENTRY(connection) in_dirty;
    LIST_HEAD(, call) calls;
    int fd;
    bool dirty;
    nghttp2_session *session;
    uint8_t *unsent; /* what the socket did not take; NULL when it took everything */
    size_t unsent_bytes, unsent_offset;
};

static LIST_HEAD(, connection) connections = LIST_HEAD_INITIALIZER(connections);
static TAILQ_HEAD(, connection) dirty = TAILQ_HEAD_INITIALIZER(dirty);
static TAILQ_HEAD(delayed, call) delayed = TAILQ_HEAD_INITIALIZER(delayed);
static struct message unary_message, stream_message;
static uint64_t stream_total_bytes, delay_ns, slow_delay_ns, calls_done, streams_open;
static int epoll_fd, listen_fd, timer_fd, signal_fd;
static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

static void must(bool good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void make_message(struct message *message, size_t payload_bytes) {
    message->length = PREFIX_BYTES + payload_bytes;
    message->bytes = calloc(1, message->length);
    must(message->bytes != NULL, "calloc");
    uint32_t length = htonl((uint32_t)payload_bytes);
    memcpy(message->bytes + 1, &length, sizeof length);
}

static void mark_dirty(struct connection *connection) {
    if (!connection->dirty) {
        connection->dirty = true;
        TAILQ_INSERT_TAIL(&dirty, connection, in_dirty);
    }
}

/* ---- answers ---- */

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

static void answer_due(void) {
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
    calls_done++;
    if (call->answer != UNARY || delay_ns == 0) {
        answer(call);
        return;
    }
    /* One delay for all, and it only ever grows: the order of arrival is the order of being due. */
    call->due_ns = now_ns() + delay_ns;
    call->delayed = true;
    bool first = TAILQ_EMPTY(&delayed);
    TAILQ_INSERT_TAIL(&delayed, call, in_delayed);
    if (first) set_timer();
}

static void forget_call(struct call *call) {
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
    (void)user_data;
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

/* ---- connections ---- */

static void watch(int fd, void *what, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    must(epoll_ctl(epoll_fd, operation, fd, &event) == 0, "epoll_ctl");
}

static void open_connection(int fd) {
    struct connection *connection = calloc(1, sizeof *connection);
    must(connection != NULL, "calloc");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->fd = fd;
    LIST_INIT(&connection->calls);
    LIST_INSERT_HEAD(&connections, connection, all);
    must(nghttp2_session_server_new2(&connection->session, callbacks, connection, options) == 0,
         "nghttp2_session_server_new2");
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
    };
    nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 1);
    nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                          CONNECTION_WINDOW_BYTES);
    watch(fd, connection, EPOLLIN, EPOLL_CTL_ADD);
    mark_dirty(connection);
}

static void close_connection(struct connection *connection) {
    struct call *call;
    while ((call = LIST_FIRST(&connection->calls)) != NULL) forget_call(call);
    if (connection->dirty) TAILQ_REMOVE(&dirty, connection, in_dirty);
    LIST_REMOVE(connection, all);
    nghttp2_session_del(connection->session);
    close(connection->fd); /* which also ends epoll's interest in it */
    free(connection->unsent);
    free(connection);
}

/* Sends what the socket takes of it and returns how much that was, or -1 when it is broken. */
static ssize_t send_some(int fd, const uint8_t *bytes, size_t length) {
    size_t sent = 0;
    while (sent < length) {
        ssize_t n = send(fd, bytes + sent, length - sent, MSG_NOSIGNAL);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno != EINTR)
            return errno == EAGAIN ? (ssize_t)sent : -1;
    }
    return (ssize_t)sent;
}

/* Writes it all, or keeps the rest and asks epoll to say when there is room again. */
static bool write_or_keep(struct connection *connection, const uint8_t *bytes, size_t length) {
    ssize_t sent = send_some(connection->fd, bytes, length);
    if (sent < 0) return false;
    size_t left = length - (size_t)sent;
    if (left == 0) return true;
    connection->unsent = malloc(left);
    must(connection->unsent != NULL, "malloc");
    memcpy(connection->unsent, bytes + sent, left);
    connection->unsent_bytes = left;
    connection->unsent_offset = 0;
    watch(connection->fd, connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return true;
}

/* Sends everything the session has to say; frames are gathered so that many go out in one write.
 * This and the functions above and below return false when the connection has to be closed. */
static bool flush(struct connection *connection) {
    static uint8_t gathered[WRITE_BYTES];
    while (connection->unsent == NULL) {
        size_t used = 0;
        const uint8_t *frame;
        ssize_t n = 0;
        while (used + READ_BYTES <= sizeof gathered &&
               (n = nghttp2_session_mem_send(connection->session, &frame)) > 0) {
            if ((size_t)n > sizeof gathered - used) return false;
            memcpy(gathered + used, frame, (size_t)n);
            used += (size_t)n;
        }
        if (n < 0) return false;
        if (used == 0) break;
        if (!write_or_keep(connection, gathered, used)) return false;
    }
    return connection->unsent != NULL || nghttp2_session_want_read(connection->session) ||
           nghttp2_session_want_write(connection->session);
}

static bool send_unsent(struct connection *connection) {
    size_t left = connection->unsent_bytes - connection->unsent_offset;
    ssize_t sent = send_some(connection->fd, connection->unsent + connection->unsent_offset, left);
    if (sent < 0) return false;
    connection->unsent_offset += (size_t)sent;
    if ((size_t)sent < left) return true;
    free(connection->unsent);
    connection->unsent = NULL;
    watch(connection->fd, connection, EPOLLIN, EPOLL_CTL_MOD);
    mark_dirty(connection);
    return true;
}

static bool receive(struct connection *connection) {
    static uint8_t bytes[READ_BYTES];
    ssize_t n = recv(connection->fd, bytes, sizeof bytes, 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    mark_dirty(connection);
    return nghttp2_session_mem_recv(connection->session, bytes, (size_t)n) == n;
}

static void on_connection_event(struct connection *connection, uint32_t events) {
    if ((events & EPOLLOUT) && connection->unsent != NULL && !send_unsent(connection)) {
        close_connection(connection);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !receive(connection))
        close_connection(connection);
}

static void flush_dirty(void) {
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&dirty)) != NULL) {
        TAILQ_REMOVE(&dirty, connection, in_dirty);
        connection->dirty = false;
        if (!flush(connection)) close_connection(connection);
    }
}

/* ---- the process ---- */

static void say_count(void) {
    printf("calls=%" PRIu64 " open=%" PRIu64 "\n", calls_done, streams_open);
    fflush(stdout);
}

/* False: asked to end. */
static bool on_signals(void) {
    struct signalfd_siginfo signal;
    while (read(signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGUSR1)
            say_count();
        else if (signal.ssi_signo == SIGUSR2)
            delay_ns = slow_delay_ns;
        else
            return false;
    }
    return true;
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        open_connection(fd);
    must(errno == EAGAIN || errno == ECONNABORTED || errno == EINTR, "accept4");
}

static void run(void) {
    struct epoll_event events[EVENTS];
    bool running = true;
    while (running) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        bool due = false;
        must(count >= 0 || errno == EINTR, "epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &listen_fd)
                accept_all();
            else if (events[i].data.ptr == &timer_fd)
                due = true;
            else if (events[i].data.ptr == &signal_fd)
                running = on_signals();
            else
                on_connection_event(events[i].data.ptr, events[i].events);
        }
        /* Only after the loop: these may close connections that still have an event in it. */
        if (due) answer_due();
        flush_dirty();
    }
}

static void listen_on(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(listen_fd >= 0, "socket");
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(listen_fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listen_fd, 4096) == 0, "listen");
    must(getsockname(listen_fd, (struct sockaddr *)&address, &length) == 0, "getsockname");
    watch(listen_fd, &listen_fd, EPOLLIN, EPOLL_CTL_ADD);
    printf("port=%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void start(uint16_t port) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    must(sigprocmask(SIG_BLOCK, &signals, NULL) == 0, "sigprocmask");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    must(epoll_fd >= 0 && signal_fd >= 0 && timer_fd >= 0, "epoll, signalfd, timerfd");
    watch(signal_fd, &signal_fd, EPOLLIN, EPOLL_CTL_ADD);
    watch(timer_fd, &timer_fd, EPOLLIN, EPOLL_CTL_ADD);
    must(nghttp2_session_callbacks_new(&callbacks) == 0, "nghttp2_session_callbacks_new");
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    must(nghttp2_option_new(&options) == 0, "nghttp2_option_new");
    nghttp2_option_set_no_closed_streams(options, 1); /* memory for priorities that nobody uses */
    listen_on(port);
}

static void finish(void) {
    struct connection *connection;
    while ((connection = LIST_FIRST(&connections)) != NULL) close_connection(connection);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    free(unary_message.bytes);
    free(stream_message.bytes);
    close(listen_fd);
    close(timer_fd);
    close(signal_fd);
    close(epoll_fd);
}

static uint64_t number(const char *text) {
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-') {
        fprintf(stderr, "not a number: %s\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},
        {"reply-bytes", required_argument, NULL, 'r'},
        {"stream-bytes", required_argument, NULL, 's'},
        {"delay-us", required_argument, NULL, 'd'},
        {"slow-delay-us", required_argument, NULL, 'D'},
        {0},
    };
    uint64_t port = 0, reply_bytes = 32, stream_bytes = 1 << 20;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'p') port = number(optarg);
        else if (option == 'r') reply_bytes = number(optarg);
        else if (option == 's') stream_bytes = number(optarg);
        else if (option == 'd') delay_ns = number(optarg) * 1000;
        else if (option == 'D') slow_delay_ns = number(optarg) * 1000;
        else return 2;
    }
    if (optind != argc || port > UINT16_MAX || reply_bytes > INT32_MAX) {
        fprintf(stderr, "no argument is taken; port up to 65535, reply up to 2 GiB\n");
        return 2;
    }
    if (slow_delay_ns < delay_ns) slow_delay_ns = delay_ns;
    make_message(&unary_message, reply_bytes);
    make_message(&stream_message, STREAM_MESSAGE_BYTES);
    uint64_t messages = (stream_bytes + STREAM_MESSAGE_BYTES - 1) / STREAM_MESSAGE_BYTES;
    stream_total_bytes = messages * stream_message.length;
    start((uint16_t)port);
    run();
    say_count();
    finish();
    return 0;
}
