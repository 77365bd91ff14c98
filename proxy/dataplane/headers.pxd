from libc.stdint cimport int64_t, uint8_t

from proxy.dataplane.nghttp2 cimport nghttp2_nv, nghttp2_rcbuf, nghttp2_vec


cdef enum Name:
    """The header names that mean something to the proxy; all others are OTHER."""
    OTHER = 0
    AUTHORITY
    METHOD
    PATH
    SCHEME
    STATUS
    UNKNOWN_PSEUDO
    HOST
    TE
    CONTENT_TYPE
    CONTENT_LENGTH
    CONNECTION_SPECIFIC
    GRPC_TIMEOUT
    GRPC_STATUS


cdef enum Kind:
    """Which message part a block is, for the rules that differ."""
    REQUEST
    RESPONSE
    TRAILERS


cdef struct Field:
    nghttp2_rcbuf *name
    nghttp2_rcbuf *value
    uint8_t flags
    uint8_t token


cdef class HeaderBlock:
    cdef Kind kind
    cdef Field *fields
    cdef Py_ssize_t count, capacity
    cdef Py_ssize_t size            # bytes as RFC 9113, section 6.5.2 counts them: name + value + 32 for each
    cdef bint too_large
    cdef const char *error          # why the block is malformed; NULL: it is not
    cdef bint regular_seen
    cdef bint is_grpc
    cdef bint is_head               # the method is HEAD
    cdef bint drop_host
    cdef int status                 # :status; 0: none
    cdef int grpc_status            # -1: none
    cdef int64_t content_length     # -1: none
    cdef double timeout             # grpc-timeout in seconds; -1: none, or malformed
    cdef bint has_timeout           # grpc-timeout is there and well-formed
    cdef Py_ssize_t[7] pseudo       # by Name: the place of AUTHORITY .. STATUS; -1: not there
    cdef Py_ssize_t host

    cdef int add(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, Py_ssize_t max_fields,
                 Py_ssize_t max_bytes) noexcept
    cdef void complete(self) noexcept
    cdef nghttp2_vec value_of(self, Name name) noexcept
    cdef nghttp2_vec authority(self) noexcept
    cdef size_t render(self, nghttp2_nv *out, nghttp2_vec timeout) noexcept
    cdef void refuse(self, const char *why) noexcept
    cdef void read_pseudo(self, uint8_t token, nghttp2_vec v) noexcept
    cdef void read_regular(self, uint8_t token, nghttp2_vec n, nghttp2_vec v) noexcept


cdef HeaderBlock new_block(Kind kind)
cdef bint good_authority(nghttp2_vec v) noexcept nogil
cdef bint good_path(nghttp2_vec v) noexcept nogil
cdef int64_t parse_length(nghttp2_vec v) noexcept nogil
cdef double parse_timeout(nghttp2_vec v) noexcept nogil
cdef size_t format_timeout(double seconds, char *out) noexcept nogil
cdef bint same(nghttp2_vec v, const char *text, size_t n) noexcept nogil
