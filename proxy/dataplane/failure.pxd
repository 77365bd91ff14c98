from libc.stdint cimport uint32_t


cpdef enum Flag:
    """Why the proxy answered by itself, or ended a call (semantics: 2). NONE: it did not."""
    NONE = 0
    NO_ENDPOINT
    OVERLOADED
    CONNECT_FAILED
    REFUSED
    UPSTREAM_LOST
    TIMEOUT
    UPSTREAM_PROTOCOL
    HEADERS_TOO_LARGE
    LOOP
    INTERNAL
    N_FLAGS


cpdef enum Classification:
    SUCCESS = 0
    FAILURE
    CANCELLED
    RETRIED     # an attempt that was repeated on another endpoint; the call goes on


cdef struct Reply:
    const char *name
    int http_status
    int grpc_status
    const char *text


cdef Reply *reply_for(Flag flag) noexcept nogil
cdef Classification classify_grpc(int grpc_status) noexcept nogil
cdef int grpc_status_of_http(int http_status) noexcept nogil
cdef int grpc_status_of_reset(uint32_t code) noexcept nogil
cdef bytes percent_encode(bytes text)
