# One direction of a call: what waits between its two connections, and what of it is known.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from proxy.dataplane.bytequeue cimport ByteQueue, queue_push

cdef enum:
    REPLAY_BYTES = 32 * 1024    # a request body up to this long can be sent again; under the window, so it cannot stall
    PREFIX_BYTES = 5            # of a gRPC message: compressed flag, then its length, big-endian


cdef struct Body:
    ByteQueue queue
    bint eof                    # the sender has ended
    bint deferred               # HTTP/2: the receiver's stream waits for more
    int64_t expected            # content-length still to come; -1: not announced
    uint64_t total              # bytes received
    uint64_t messages           # gRPC messages begun
    uint8_t prefix              # bytes of a message's 5-byte prefix seen
    uint32_t left               # bytes of the current message (or, while the prefix is read, of its length) to come


cdef inline void body_count_messages(Body *body, const uint8_t *data, size_t n) noexcept nogil:
    """Follow gRPC's length-prefixed messages, to know their number and whether we stand between two."""
    cdef size_t i = 0, step
    while i < n:
        if body.prefix < PREFIX_BYTES:
            if body.prefix == 0:
                body.messages += 1
                body.left = 0
            else:
                body.left = (body.left << 8) | data[i]
            body.prefix += 1
            i += 1
        if body.prefix == PREFIX_BYTES:
            step = min(<size_t> body.left, n - i)
            body.left -= <uint32_t> step
            i += step
            if body.left == 0:
                body.prefix = 0


cdef inline bint body_take(Body *body, const uint8_t *data, size_t n, bint is_grpc) noexcept nogil:
    """Queue what arrived. False: it is more than content-length said, or there is no memory."""
    if body.expected >= 0:
        if n > <size_t> body.expected:
            return False
        body.expected -= n
    body.total += n
    if is_grpc:
        body_count_messages(body, data, n)
    return queue_push(&body.queue, <const char *> data, n) == 0
