/* An HTTP/1.1 server (RFC 9112) that costs as little as possible, so that what is measured is the proxy.
 *
 * Whatever is asked, the answer is 200 with --reply-bytes of zeros; requests may be pipelined and have a body with
 * a content-length. One thing only is looked at besides: whether the connection is to be closed (RFC 9112,
 * section 9.6, and every request of HTTP/1.0). A chunked request, a head above 16 KiB and a length that is none are
 * refused by closing the connection, with the reason on standard error.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "serve.h"

enum { IN_BYTES = 1 << 15, HEAD_BYTES = 1 << 14, HEAD_ROOM = 128 };

struct connection {
    int fd;
    bool waits_for_room, last; /* `last`: close when everything is sent */
    uint64_t body_left;        /* of the request that is coming in; its head is gone from `in` already */
    uint64_t owed_bytes;       /* answers not sent yet */
    size_t sent_bytes;         /* of the first of them */
    size_t used;
    char in[IN_BYTES];
};

/* All answers are this one, so a connection need only know how many bytes of its repetition it owes. */
static char *answer_bytes;
static size_t answer_length;

static void make_answer(size_t body_bytes) {
    answer_bytes = calloc(1, HEAD_ROOM + body_bytes);
    must(answer_bytes != NULL, "calloc");
    int head = snprintf(answer_bytes, HEAD_ROOM,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
                        body_bytes);
    answer_bytes[head] = '\0';
    answer_length = (size_t)head + body_bytes;
}

/* ---- requests ---- */

static bool refuse(const char *why) {
    fprintf(stderr, "refused: %s\n", why);
    return false;
}

static bool has_token(const char *value, const char *end, const char *token) {
    size_t length = strlen(token);
    for (; end - value >= (ptrdiff_t)length; value++)
        if (strncasecmp(value, token, length) == 0) return true;
    return false;
}

static bool is_field(const char *line, const char *colon, const char *name) {
    return (size_t)(colon - line) == strlen(name) && strncasecmp(line, name, strlen(name)) == 0;
}

static bool read_length(struct connection *connection, const char *value, const char *end) {
    uint64_t length = 0;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    if (value == end) return refuse("an empty content-length");
    for (; value < end && isdigit((unsigned char)*value); value++) length = length * 10 + (uint64_t)(*value - '0');
    if (value < end) return refuse("a content-length that is no number");
    connection->body_left = length;
    return true;
}

static bool read_field(struct connection *connection, const char *line, const char *end) {
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (colon == NULL) return refuse("a line without a colon");
    if (is_field(line, colon, "content-length")) return read_length(connection, colon + 1, end);
    if (is_field(line, colon, "transfer-encoding")) return refuse("a chunked request");
    if (is_field(line, colon, "connection") && has_token(colon + 1, end, "close")) connection->last = true;
    return true;
}

/* `end` is behind the CRLF of the last line. */
static bool read_head(struct connection *connection, const char *line, const char *end) {
    const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
    if (stop - line < 8 || strncmp(stop - 8, "HTTP/1.", 7) != 0) return refuse("no HTTP/1 request");
    if (stop[-1] == '0') connection->last = true;
    for (line = stop + 2; line < end; line = stop + 2) {
        stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if ((*line | 0x20) != 'c' && (*line | 0x20) != 't') continue; /* no name that is looked at */
        if (!read_field(connection, line, stop)) return false;
    }
    return true;
}

/* Takes what is complete out of the bytes that came; false when the connection has to be closed. */
static bool take_requests(struct connection *connection) {
    const char *at = connection->in, *end = at + connection->used;
    bool in_body = connection->body_left > 0;
    while (at < end && !(connection->last && !in_body)) {
        if (!in_body) {
            const char *blank = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
            if (blank == NULL) break;
            if (!read_head(connection, at, blank + 2)) return false;
            at = blank + 4;
        }
        uint64_t here = (uint64_t)(end - at) < connection->body_left ? (uint64_t)(end - at) : connection->body_left;
        at += here;
        connection->body_left -= here;
        in_body = connection->body_left > 0;
        if (!in_body) {
            calls_done++;
            connection->owed_bytes += answer_length;
        }
    }
    connection->used = (size_t)(end - at);
    memmove(connection->in, at, connection->used);
    return connection->used < HEAD_BYTES || connection->last || refuse("a head above 16 KiB");
}

/* ---- connections ---- */

static void close_connection(struct connection *connection) {
    connections_open--;
    close(connection->fd);
    free(connection);
}

static void open_connection(int fd) {
    struct connection *connection = malloc(sizeof *connection);
    must(connection != NULL, "malloc");
    memset(connection, 0, offsetof(struct connection, in));
    connection->fd = fd;
    watch(fd, connection, EPOLLIN, EPOLL_CTL_ADD);
}

/* This and the function below return false when the connection has to be closed. */
static bool send_answers(struct connection *connection) {
    while (connection->owed_bytes > 0) {
        ssize_t n = send(connection->fd, answer_bytes + connection->sent_bytes,
                         answer_length - connection->sent_bytes, MSG_NOSIGNAL);
        if (n < 0 && !would_block()) return false;
        if (n < 0) break;
        connection->owed_bytes -= (uint64_t)n;
        connection->sent_bytes = (connection->sent_bytes + (size_t)n) % answer_length;
    }
    /* While answers wait for room no request is read: the client has to read first. */
    bool waits = connection->owed_bytes > 0;
    if (waits != connection->waits_for_room)
        watch(connection->fd, connection, waits ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    connection->waits_for_room = waits;
    return waits || !connection->last || connection->body_left > 0;
}

static bool receive(struct connection *connection) {
    ssize_t n = recv(connection->fd, connection->in + connection->used, IN_BYTES - connection->used, 0);
    if (n < 0) return would_block();
    if (n == 0) return false;
    connection->used += (size_t)n;
    return take_requests(connection);
}

static void on_event(void *what, uint32_t events) {
    struct connection *connection = what;
    bool good = connection->waits_for_room || receive(connection);
    (void)events; /* an error or a hang-up shows itself in the next send or receive */
    if (!good || !send_answers(connection)) close_connection(connection);
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},
        {"reply-bytes", required_argument, NULL, 'r'},
        {0},
    };
    static const struct server server = {open_connection, on_event};
    uint64_t port = 0, reply_bytes = 32;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'p') port = number(optarg, UINT16_MAX);
        else if (option == 'r') reply_bytes = number(optarg, INT32_MAX);
        else return 2;
    }
    make_answer(reply_bytes);
    serve(&server, (uint16_t)port);
    free(answer_bytes);
    return 0;
}
