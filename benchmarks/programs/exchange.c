#include "exchange.h"

#include <string.h>
#include <sys/socket.h>

#include "base.h"

enum { FILLING_BYTES = 1 << 18, DISCARD_BYTES = 1 << 20 };

enum step send_more(int fd, const struct opening *opening, struct progress *sent) {
    static char bytes[OPENING_BYTES + FILLING_BYTES];
    size_t at = sent->done < OPENING_BYTES ? (size_t)sent->done : OPENING_BYTES;
    size_t length = sizeof bytes - at;
    if (length > sent->total - sent->done) length = (size_t)(sent->total - sent->done);
    if (at < OPENING_BYTES) memcpy(bytes, opening, OPENING_BYTES);
    ssize_t n = send(fd, bytes + at, length, MSG_NOSIGNAL);
    if (n < 0) return would_block() ? PARTLY : BROKEN;
    sent->done += (uint64_t)n;
    return sent->done == sent->total ? COMPLETE : PARTLY;
}

enum step receive_more(int fd, struct opening *opening, struct progress *got) {
    ssize_t n;
    if (got->done < OPENING_BYTES)
        n = recv(fd, (char *)opening + got->done, OPENING_BYTES - (size_t)got->done, 0);
    else
        n = recv(fd, NULL, DISCARD_BYTES, MSG_TRUNC);
    if (n < 0) return would_block() ? PARTLY : BROKEN;
    if (n == 0) return ENDED;
    got->done += (uint64_t)n;
    return got->done == got->total ? COMPLETE : PARTLY;
}
