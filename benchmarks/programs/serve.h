/* A server of one thread: accepts, waits for events, counts, and ends when it is told to.
 *
 * The first line printed is "port=N". SIGUSR1 prints "calls=N open=N" (requests that were complete so far,
 * connections open now), SIGTERM prints the same and ends with 0.
 */
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include <stdint.h>

/* What a connection is, is the server's own affair. `open` watches the socket with it and `event` gets it
 * back; it is `event` that frees it. */
struct server {
    void (*open)(int fd);
    void (*event)(void *connection, uint32_t events);
};

extern uint64_t calls_done, connections_open;

/* Returns when SIGTERM or SIGINT came. */
void serve(const struct server *server, uint16_t port);

#endif
