/* Connections: a socket and a libnghttp2 session each. Frames are gathered into one write, and what the
 * socket does not take is kept. Also how a connection ends without losing a call. */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    STREAM_WINDOW_BYTES = 1 << 20,
    CONNECTION_WINDOW_BYTES = 1 << 24,
    READ_BYTES = 1 << 16,
    WRITE_BYTES = 1 << 18,
};

static LIST_HEAD(, connection) connections = LIST_HEAD_INITIALIZER(connections);
static TAILQ_HEAD(, connection) dirty = TAILQ_HEAD_INITIALIZER(dirty);
static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

void prepare_connections(void) {
    must(nghttp2_session_callbacks_new(&callbacks) == 0, "nghttp2_session_callbacks_new");
    set_call_callbacks(callbacks);
    must(nghttp2_option_new(&options) == 0, "nghttp2_option_new");
    nghttp2_option_set_no_closed_streams(options, 1); /* memory for priorities that nobody uses */
}

void mark_dirty(struct connection *connection) {
    if (!connection->dirty) {
        connection->dirty = true;
        TAILQ_INSERT_TAIL(&dirty, connection, in_dirty);
    }
}

void open_connection(int fd) {
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

/* Whether the connection goes on, now that everything was sent that can be. */
static bool goes_on(struct connection *connection) {
    nghttp2_session *session = connection->session;
    if (connection->unsent != NULL) return true;
    if (connection->phase == SERVING)
        return nghttp2_session_want_read(session) || nghttp2_session_want_write(session);
    if (connection->phase == LAST_SAID && LIST_EMPTY(&connection->calls)) {
        connection->phase = SHUT;
        return shutdown(connection->fd, SHUT_WR) == 0;
    }
    return true;
}

/* Sends everything the session has to say; frames are gathered so that many go out in one write.
 * This and the functions above and below return false when the connection has to be closed. */
static bool flush(struct connection *connection) {
    static uint8_t gathered[WRITE_BYTES];
    if (connection->phase == SHUT) return true;
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
    return goes_on(connection);
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

void on_connection_event(struct connection *connection, uint32_t events) {
    if ((events & EPOLLOUT) && connection->unsent != NULL && !send_unsent(connection)) {
        close_connection(connection);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !receive(connection))
        close_connection(connection);
}

void flush_dirty(void) {
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&dirty)) != NULL) {
        TAILQ_REMOVE(&dirty, connection, in_dirty);
        connection->dirty = false;
        if (!flush(connection)) close_connection(connection);
    }
}

/* ---- the end ---- */

void drain_connections(void) {
    struct connection *connection;
    LIST_FOREACH(connection, &connections, all) {
        nghttp2_submit_shutdown_notice(connection->session);
        nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL);
        connection->phase = ANNOUNCED;
        mark_dirty(connection);
    }
}

/* The peer has seen the announcement: what it sends from now on needs no promise. */
void on_ping_ack(struct connection *connection) {
    nghttp2_session *session = connection->session;
    if (connection->phase != ANNOUNCED) return;
    nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    connection->phase = LAST_SAID;
}

bool have_connections(void) {
    return !LIST_EMPTY(&connections);
}

void free_connections(void) {
    struct connection *connection;
    while ((connection = LIST_FIRST(&connections)) != NULL) close_connection(connection);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
}
