/* What all programs here need: an end with a reason, numbers from options, sockets of 127.0.0.1, epoll. */
#ifndef BENCH_BASE_H
#define BENCH_BASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Ends the process with the system's reason for it, when not good. */
void must(bool good, const char *what);

/* The number that an option has; ends the process with 2 when it is none or above `most`. */
uint64_t number(const char *text, uint64_t most);

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* The epoll of this process, and epoll_ctl for it: `what` is what an event is recognised by. */
extern int epoll_fd;
void open_epoll(void);
void watch(int fd, void *what, uint32_t events, int operation);

/* A socket that listens on 127.0.0.1 and never blocks; prints "port=N". Port 0: the kernel chooses. */
int listen_on(uint16_t port);

/* A connection to that port, or -1. Waits for it: on loopback the kernel answers before connect() returns,
 * whatever the peer is doing. The socket does not block from then on. */
int connect_to(uint16_t port);

/* No waiting for full segments: every message here is the last for now. */
void send_at_once(int fd);

/* Whether a failed send or receive only means "not now". */
bool would_block(void);

#endif
