/* The TCP server: answers what an opening asks for (exchange.h), and closes unless the connection goes on.
 *
 * It is the server that closes first. So it and the listening side of a proxy keep the closed connections in
 * TIME_WAIT, and no client's port is in use for longer than its connection.
 */
#include <getopt.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base.h"
#include "exchange.h"
#include "serve.h"

struct connection {
    int fd;
    bool waits_for_room;
    struct opening opening;
    struct progress got, sent;
};

static const struct progress NOTHING = {0, OPENING_BYTES};

static void open_connection(int fd) {
    struct connection *connection = calloc(1, sizeof *connection);
    must(connection != NULL, "calloc");
    connection->fd = fd;
    connection->got = NOTHING;
    watch(fd, connection, EPOLLIN, EPOLL_CTL_ADD);
}

static void close_connection(struct connection *connection) {
    connections_open--;
    close(connection->fd);
    free(connection);
}

/* This and the functions below return false when the connection has to be closed. */
static bool answer(struct connection *connection) {
    enum step step = send_more(connection->fd, &connection->opening, &connection->sent);
    bool waits = step == PARTLY;
    if (waits != connection->waits_for_room)
        watch(connection->fd, connection, waits ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    connection->waits_for_room = waits;
    if (step == COMPLETE) connection->got = NOTHING;
    return waits || (step == COMPLETE && connection->opening.goes_on);
}

static bool request_complete(struct connection *connection) {
    calls_done++;
    connection->sent = (struct progress){0, connection->opening.answer_bytes};
    return answer(connection);
}

static bool receive(struct connection *connection) {
    enum step step = receive_more(connection->fd, &connection->opening, &connection->got);
    if (step != COMPLETE) return step == PARTLY;
    if (connection->got.done > OPENING_BYTES) return request_complete(connection);
    const struct opening *opening = &connection->opening;
    if (opening->request_bytes < OPENING_BYTES || opening->answer_bytes < OPENING_BYTES) return false;
    connection->got.total = opening->request_bytes;
    return opening->request_bytes > OPENING_BYTES || request_complete(connection);
}

static void on_event(void *what, uint32_t events) {
    struct connection *connection = what;
    (void)events; /* an error or a hang-up shows itself in the next send or receive */
    if (!(connection->waits_for_room ? answer(connection) : receive(connection))) close_connection(connection);
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"port", required_argument, NULL, 'p'}, {0}};
    static const struct server server = {open_connection, on_event};
    uint64_t port = 0;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option != 'p') return 2;
        port = number(optarg, UINT16_MAX);
    }
    serve(&server, (uint16_t)port);
    return 0;
}
