from libc.stdint cimport int64_t, uint8_t, uint32_t

from proxy.dataplane.http1fields cimport HeadField
from proxy.dataplane.http1render cimport Persistence
from proxy.dataplane.nghttp2 cimport nghttp2_vec


cdef enum BodyKind:
    """How a message's body is framed (RFC 9112, section 6.3). A content-length of 0 is NO_BODY."""
    NO_BODY
    LENGTH
    CHUNKED
    UNTIL_CLOSE


cdef class MessageHead:
    cdef const char *error          # why it is malformed (static); NULL: it is not
    cdef bint too_large             # over max_fields or max_bytes; what follows is then not complete
    cdef int minor                  # of the version: 0 or 1
    cdef int status                 # 0: a request
    cdef BodyKind body
    cdef int64_t content_length     # -1: none
    cdef bint keep_alive            # the connection may be used again after this message
    cdef bint is_head, is_connect, idempotent
    cdef bint expects_continue
    cdef bint upgrade               # asks for, or (101) agrees to, a protocol that the connection becomes a tunnel for
    cdef bint absolute              # absolute-form target

    cdef uint8_t *data              # a copy of the head
    cdef uint32_t size
    cdef HeadField *fields
    cdef Py_ssize_t count, capacity
    cdef nghttp2_vec method_part, target_part, authority_part, path_part
    cdef Py_ssize_t host            # the place of its field; -1: none
    cdef bint has_transfer_encoding, has_connection
    cdef bint says_close, says_keep_alive, says_upgrade
    cdef bint offers_upgrade        # there is a protocol other than h2c in Upgrade
    cdef bint wants_trailers        # te: trailers
    cdef bint keeps_upgrade         # Upgrade is forwarded

    cdef nghttp2_vec find(self, const char *name) noexcept
    cdef nghttp2_vec method(self) noexcept
    cdef nghttp2_vec target(self) noexcept
    cdef nghttp2_vec authority(self) noexcept
    cdef nghttp2_vec path(self) noexcept
    cdef size_t room(self) noexcept
    cdef size_t render(self, char *out, Persistence persistence) noexcept


cdef MessageHead parse_request(const char *data, size_t n, Py_ssize_t max_fields, Py_ssize_t max_bytes)
cdef MessageHead parse_response(const char *data, size_t n, Py_ssize_t max_fields, Py_ssize_t max_bytes,
                                bint to_head, bint to_connect)
cdef ssize_t find_head_end(const char *data, size_t n, size_t *scanned) noexcept nogil
cdef size_t skip_empty_lines(const char *data, size_t n) noexcept nogil
