/* What the TCP client and the TCP server say to each other.
 *
 * A message begins with an opening of 64 bytes. The client's says how many bytes of filling follow it, how many the
 * answer has, and whether the connection goes on; the answer begins with the same opening, so that the client
 * knows it for its own. A message of 64 bytes is an opening alone. Both ends run on one machine: no byte order.
 */
#ifndef BENCH_EXCHANGE_H
#define BENCH_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct opening {
    uint64_t number; /* no other exchange of this client has it */
    uint64_t request_bytes, answer_bytes; /* with the opening */
    uint64_t goes_on;
    uint64_t unused[4];
};

enum { OPENING_BYTES = sizeof(struct opening) };
_Static_assert(OPENING_BYTES == 64, "an opening has 64 bytes");

/* One direction of an exchange: how much of a message has gone through. */
struct progress {
    uint64_t done, total;
};

enum step { BROKEN, ENDED, PARTLY, COMPLETE };

/* Sends once, at most 256 KiB, so that other connections have their turn. Never ENDED. */
enum step send_more(int fd, const struct opening *opening, struct progress *sent);

/* Receives once: the opening into `opening`, and what follows into nothing at all, for the kernel can discard
 * it (MSG_TRUNC): that keeps the receiver faster than any proxy. ENDED: the peer has closed. */
enum step receive_more(int fd, struct opening *opening, struct progress *got);

#endif
