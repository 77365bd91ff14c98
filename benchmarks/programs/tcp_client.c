/* Load over TCP: exchanges with tcp_server, one at a time on each of --connections, in a closed loop.
 *
 *   --milliseconds=N   begins no exchange after that time; what runs is finished
 *   --exchanges=N      begins so many and no more
 *   --request-bytes, --answer-bytes   of each exchange, 64 at least
 *   --reconnect        each exchange has a connection of its own, and lasts until the server has closed it
 *
 * Prints "done=N failed=N p50_us=N p99_us=N". A connection that breaks, an answer that is not for the request
 * and one that does not come within PATIENCE_S after the end are failures.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base.h"
#include "exchange.h"

enum { EVENTS = 256, LONGEST_US = 1000000, PATIENCE_S = 10, WHOLE_RUN_S = 300 };

struct connection {
    int fd; /* -1: none */
    bool waits_for_room;
    uint64_t begun_ns;
    struct opening request, answer;
    struct progress sent, got;
};

static uint16_t port;
static bool reconnect;
static uint64_t request_bytes = OPENING_BYTES, answer_bytes = OPENING_BYTES;
static uint64_t end_ns, exchanges_left = UINT64_MAX;
static uint64_t begun, done, failed, running;

/* Exchanges by how many microseconds they took; the last counts all that took longer. */
static uint32_t took_us[LONGEST_US + 1];

static void drop(struct connection *connection) {
    close(connection->fd);
    connection->fd = -1;
}

static void fail(struct connection *connection) {
    failed++;
    running--;
    if (connection->fd >= 0) drop(connection);
}

static void begin(struct connection *connection);

static void finish(struct connection *connection) {
    uint64_t us = (now_ns() - connection->begun_ns) / 1000;
    took_us[us < LONGEST_US ? us : LONGEST_US]++;
    done++;
    running--;
    if (reconnect) drop(connection);
    begin(connection);
}

static void send_request(struct connection *connection) {
    enum step step = send_more(connection->fd, &connection->request, &connection->sent);
    bool waits = step == PARTLY;
    if (step == BROKEN) {
        fail(connection);
        return;
    }
    if (waits != connection->waits_for_room)
        watch(connection->fd, connection, waits ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    connection->waits_for_room = waits;
}

/* Begins the next exchange, unless the load is over; then the connection is closed. */
static void begin(struct connection *connection) {
    uint64_t now = now_ns();
    if (now >= end_ns || exchanges_left == 0) {
        if (connection->fd >= 0) drop(connection);
        return;
    }
    exchanges_left--;
    running++;
    connection->begun_ns = now;
    connection->request = (struct opening){++begun, request_bytes, answer_bytes, !reconnect, {0}};
    connection->sent = (struct progress){0, request_bytes};
    connection->got = (struct progress){0, answer_bytes};
    if (connection->fd < 0) {
        connection->fd = connect_to(port);
        connection->waits_for_room = false;
        if (connection->fd < 0) {
            fail(connection);
            return;
        }
        watch(connection->fd, connection, EPOLLIN, EPOLL_CTL_ADD);
    }
    send_request(connection);
}

static void receive(struct connection *connection) {
    struct progress *got = &connection->got;
    if (got->done == got->total) { /* only the server's end is missing */
        struct progress more = {0, 1};
        struct opening surplus;
        enum step step = receive_more(connection->fd, &surplus, &more);
        if (step == ENDED) finish(connection);
        else if (step != PARTLY || more.done > 0) fail(connection);
        return;
    }
    enum step step = receive_more(connection->fd, &connection->answer, got);
    bool mine = got->done < OPENING_BYTES || connection->answer.number == connection->request.number;
    if (step == BROKEN || step == ENDED || !mine) fail(connection);
    else if (step == COMPLETE && reconnect) receive(connection); /* its end is often here already */
    else if (step == COMPLETE) finish(connection);
}

static void on_event(struct connection *connection) {
    if (connection->waits_for_room) send_request(connection);
    else receive(connection);
}

static void run(struct connection *connections, size_t count, uint64_t patience_ns) {
    struct epoll_event events[EVENTS];
    open_epoll();
    for (size_t i = 0; i < count; i++) {
        connections[i].fd = -1;
        begin(&connections[i]);
    }
    while (running > 0 && now_ns() < patience_ns) {
        int ready = epoll_wait(epoll_fd, events, EVENTS, 100);
        must(ready >= 0 || errno == EINTR, "epoll_wait");
        for (int i = 0; i < ready; i++) on_event(events[i].data.ptr);
    }
    failed += running;
}

/* The nearest rank: the smallest time that at least this share of the exchanges do not exceed. */
static uint64_t percentile(uint64_t percent) {
    uint64_t rank = (done * percent + 99) / 100, seen = 0, us = 0;
    while (us < LONGEST_US && (seen += took_us[us]) < rank) us++;
    return us;
}

int main(int argc, char **argv) {
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'},
        {"milliseconds", required_argument, NULL, 'm'},
        {"exchanges", required_argument, NULL, 'n'},
        {"request-bytes", required_argument, NULL, 'q'},
        {"answer-bytes", required_argument, NULL, 'a'},
        {"reconnect", no_argument, NULL, 'r'},
        {0},
    };
    uint64_t count = 1, milliseconds = WHOLE_RUN_S * 1000;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'p') port = (uint16_t)number(optarg, UINT16_MAX);
        else if (option == 'c') count = number(optarg, 10000);
        else if (option == 'm') milliseconds = number(optarg, WHOLE_RUN_S * 1000);
        else if (option == 'n') exchanges_left = number(optarg, UINT64_MAX);
        else if (option == 'q') request_bytes = number(optarg, UINT64_MAX);
        else if (option == 'a') answer_bytes = number(optarg, UINT64_MAX);
        else if (option == 'r') reconnect = true;
        else return 2;
    }
    if (request_bytes < OPENING_BYTES || answer_bytes < OPENING_BYTES) {
        fprintf(stderr, "requests and answers have at least %d bytes\n", OPENING_BYTES);
        return 2;
    }
    struct connection *connections = calloc(count, sizeof *connections);
    must(connections != NULL, "calloc");
    end_ns = now_ns() + milliseconds * 1000000u;
    run(connections, count, end_ns + PATIENCE_S * (uint64_t)1000000000u);
    printf("done=%" PRIu64 " failed=%" PRIu64 " p50_us=%" PRIu64 " p99_us=%" PRIu64 "\n", done, failed,
           percentile(50), percentile(99));
    free(connections);
    return 0;
}
