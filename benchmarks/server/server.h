/* What the parts of the server share: calls.c answers, connections.c moves bytes, main.c is the process. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum answer { UNARY, STREAM, HOLD };

/* What goes over the wire of a message, prefix and payload; what is streamed is this, repeated. */
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

/* How far a connection has come in ending without losing a call (RFC 9113, section 6.8). */
enum phase {
    SERVING,
    ANNOUNCED, /* GOAWAY(2^31-1) and PING are sent: streams on their way are still taken */
    LAST_SAID, /* the PING came back, GOAWAY names the last stream: what runs is finished */
    SHUT,      /* everything is said: waiting for the peer to close, so that nothing is cut off */
};

struct connection {
    LIST_ENTRY(connection) all;
    TAILQ_ENTRY(connection) in_dirty;
    LIST_HEAD(, call) calls;
    int fd;
    bool dirty;
    enum phase phase;
    nghttp2_session *session;
    uint8_t *unsent; /* what the socket did not take; NULL when it took everything */
    size_t unsent_bytes, unsent_offset;
};

/* ---- main.c ---- */

/* Ends the process with the system's reason for it, when not good. */
void must(bool good, const char *what);
/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);
/* epoll_ctl: `what` is what an event is recognised by. */
void watch(int fd, void *what, uint32_t events, int operation);

/* ---- calls.c ---- */

/* Requests that were complete so far, and when the first and the last one were (0: none yet). */
extern uint64_t calls_done, first_call_ns, last_call_ns;
extern uint64_t streams_open, delay_ns;

/* `timer` becomes readable when a delayed answer is due. */
void prepare_answers(int timer, uint64_t reply_bytes, uint64_t stream_bytes);
void set_call_callbacks(nghttp2_session_callbacks *callbacks);
void answer_due(void);
void forget_call(struct call *call);
void free_answers(void);

/* ---- connections.c ---- */

void prepare_connections(void);
void open_connection(int fd);
void on_connection_event(struct connection *connection, uint32_t events);
void mark_dirty(struct connection *connection);
/* Sends what the dirty connections have to say, and closes those that are done. */
void flush_dirty(void);
/* Begins to end every connection; `have_connections` tells when that is over. */
void drain_connections(void);
void on_ping_ack(struct connection *connection);
bool have_connections(void);
void free_connections(void);

#endif
