/* A gRPC server that costs as little as possible, so that what is measured is the proxy before it.
 *
 * HTTP/2 with prior knowledge (RFC 9113, section 3.3) over libnghttp2 and epoll, in one thread.
 * It answers by path and looks at nothing else of a request:
 *
 *   /bench.Bench/Stream   --stream-bytes of messages of 16 KiB, under flow control
 *   /bench.Bench/Hold     headers and one message, then silence: the stream stays open
 *   any other path        one message of --reply-bytes, --delay-us after the request is complete
 *
 * SIGUSR1 prints "calls=N open=N first_ns=T last_ns=T": requests completed so far, streams open now, and
 * when the first and the last request were complete (CLOCK_MONOTONIC). SIGUSR2 switches to --slow-delay-us.
 * SIGTERM stops listening, says GOAWAY, finishes what runs, prints that line and exits with 0; a second one
 * does not wait. The first line printed is "port=N", for --port 0 lets the kernel choose.
 */
#define _GNU_SOURCE
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };

static int epoll_fd, listen_fd, timer_fd, signal_fd;
static uint64_t slow_delay_ns;
static bool draining, at_once;

void must(bool good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void watch(int fd, void *what, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    must(epoll_ctl(epoll_fd, operation, fd, &event) == 0, "epoll_ctl");
}

static void say_count(void) {
    printf("calls=%" PRIu64 " open=%" PRIu64 " first_ns=%" PRIu64 " last_ns=%" PRIu64 "\n", calls_done,
           streams_open, first_call_ns, last_call_ns);
    fflush(stdout);
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        open_connection(fd);
    must(errno == EAGAIN || errno == ECONNABORTED || errno == EINTR, "accept4");
}

static void drain(void) {
    draining = true;
    accept_all(); /* who waits there was promised a connection */
    close(listen_fd);
    drain_connections();
}

static void on_signals(void) {
    struct signalfd_siginfo signal;
    while (read(signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGUSR1)
            say_count();
        else if (signal.ssi_signo == SIGUSR2)
            delay_ns = slow_delay_ns;
        else if (draining)
            at_once = true;
        else
            drain();
    }
}

static void run(void) {
    struct epoll_event events[EVENTS];
    while (!at_once && !(draining && !have_connections())) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        bool due = false, told = false;
        must(count >= 0 || errno == EINTR, "epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &listen_fd) {
                accept_all();
            } else if (events[i].data.ptr == &timer_fd) {
                due = true;
            } else if (events[i].data.ptr == &signal_fd) {
                told = true;
            } else {
                on_connection_event(events[i].data.ptr, events[i].events);
            }
        }
        /* Only after the loop: these may close what still has an event in it. */
        if (told) on_signals();
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

static void start(void) {
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
}

static void finish(void) {
    free_connections();
    free_answers();
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
    start();
    prepare_answers(timer_fd, reply_bytes, stream_bytes);
    prepare_connections();
    listen_on((uint16_t)port);
    run();
    say_count();
    finish();
    return 0;
}
