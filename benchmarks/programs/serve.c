#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"

enum { EVENTS = 256 };

uint64_t calls_done, connections_open;
static int listen_fd, signal_fd;

static void say_count(void) {
    printf("calls=%" PRIu64 " open=%" PRIu64 "\n", calls_done, connections_open);
    fflush(stdout);
}

static int open_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    must(sigprocmask(SIG_BLOCK, &signals, NULL) == 0, "sigprocmask");
    int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    must(fd >= 0, "signalfd");
    return fd;
}

/* False: asked to end. */
static bool on_signals(void) {
    struct signalfd_siginfo signal;
    while (read(signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo != SIGUSR1) return false;
        say_count();
    }
    return true;
}

static void accept_all(const struct server *server) {
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        send_at_once(fd);
        connections_open++;
        server->open(fd);
    }
    must(errno == EAGAIN || errno == ECONNABORTED || errno == EINTR, "accept4");
}

void serve(const struct server *server, uint16_t port) {
    struct epoll_event events[EVENTS];
    bool running = true;
    open_epoll();
    signal_fd = open_signals();
    watch(signal_fd, &signal_fd, EPOLLIN, EPOLL_CTL_ADD);
    listen_fd = listen_on(port);
    watch(listen_fd, &listen_fd, EPOLLIN, EPOLL_CTL_ADD);
    while (running) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        must(count >= 0 || errno == EINTR, "epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &listen_fd)
                accept_all(server);
            else if (events[i].data.ptr == &signal_fd)
                running = on_signals();
            else
                server->event(events[i].data.ptr, events[i].events);
        }
    }
    say_count();
}
