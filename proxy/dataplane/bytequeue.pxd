# A byte queue in plain C memory: what one direction of one call holds between two connections.
#
# Bytes are appended at `end` and read at `head`. With `keep`, bytes that were read stay in front of `head`, so that a
# request that provably was not processed can be sent again (`rewind`). The owner bounds the size: nothing here does.

from libc.string cimport memcpy, memmove

from proxy.dataplane.memory cimport pool_free, pool_malloc


cdef struct ByteQueue:
    char *data
    size_t capacity
    size_t start    # first byte kept
    size_t head     # first byte not read yet
    size_t end
    bint keep       # bytes read stay until `forget`


cdef inline size_t queue_len(ByteQueue *q) noexcept nogil:
    return q.end - q.head


cdef inline size_t queue_kept(ByteQueue *q) noexcept nogil:
    return q.head - q.start


cdef inline const char *queue_peek(ByteQueue *q) noexcept nogil:
    return q.data + q.head


cdef inline void queue_release(ByteQueue *q) noexcept nogil:
    pool_free(q.data)
    q.data = NULL
    q.capacity = q.start = q.head = q.end = 0


cdef inline int queue_push(ByteQueue *q, const char *data, size_t n) noexcept nogil:
    """Append n bytes. Returns 0, or -1 when there is no memory (the queue is then as before)."""
    cdef size_t used = q.end - q.start
    cdef size_t capacity
    cdef char *grown
    if q.capacity - q.end < n:
        if q.start and q.capacity - used >= n:
            memmove(q.data, q.data + q.start, used)
        else:
            capacity = q.capacity * 2 if q.capacity else 256
            while capacity - used < n:
                capacity *= 2
            grown = <char *> pool_malloc(capacity)
            if grown == NULL:
                return -1
            if used:
                memcpy(grown, q.data + q.start, used)
            pool_free(q.data)
            q.data = grown
            q.capacity = capacity
        q.head -= q.start
        q.end -= q.start
        q.start = 0
    memcpy(q.data + q.end, data, n)
    q.end += n
    return 0


cdef inline void queue_pop(ByteQueue *q, size_t n) noexcept nogil:
    """n bytes were read. An empty queue gives its memory back: thousands of quiet streams hold none."""
    q.head += n
    if not q.keep:
        q.start = q.head
        if q.head == q.end:
            queue_release(q)


cdef inline void queue_forget(ByteQueue *q) noexcept nogil:
    """What was read is not needed again."""
    q.keep = False
    q.start = q.head
    if q.head == q.end:
        queue_release(q)


cdef inline void queue_rewind(ByteQueue *q) noexcept nogil:
    """Read again from the first byte kept."""
    q.head = q.start
