# The header fields that mean something to HTTP/1 framing or to a proxy, and where a field is within a head.

from libc.stdint cimport uint8_t, uint32_t

from proxy.dataplane.http1text cimport is_word


cdef enum FieldName:
    """The fields that mean something to HTTP/1 framing or to a proxy. All others are FIELD_OTHER."""
    FIELD_OTHER = 0
    # Of one connection, never forwarded as they are (RFC 9110, section 7.6.1).
    FIELD_CONNECTION
    FIELD_HOP               # keep-alive, proxy-connection, http2-settings
    FIELD_TE
    FIELD_UPGRADE
    # Of the message: Connection may not name them, and trailers may not have them either.
    FIELD_CONTENT_LENGTH
    FIELD_TRANSFER_ENCODING
    FIELD_HOST
    FIELD_EXPECT
    FIELD_END_TO_END        # what decides how content is read, who asks and for whom


cdef enum:
    LONGEST_FIELD_NAME = 19     # of those that are not FIELD_OTHER


cdef struct HeadField:
    uint32_t start, end             # its line, CRLF included
    uint32_t value, value_len       # without the blanks around it
    uint32_t name_len
    uint8_t name                    # FieldName
    bint dropped                    # not forwarded


cdef inline FieldName field_name(const uint8_t *p, size_t n) noexcept nogil:
    if n == 2:
        if is_word(p, n, b"te", 2):
            return FIELD_TE
    elif n == 4:
        if is_word(p, n, b"host", 4):
            return FIELD_HOST
    elif n == 6:
        if is_word(p, n, b"expect", 6):
            return FIELD_EXPECT
        if is_word(p, n, b"cookie", 6):
            return FIELD_END_TO_END
    elif n == 7:
        if is_word(p, n, b"upgrade", 7):
            return FIELD_UPGRADE
        if is_word(p, n, b"trailer", 7):
            return FIELD_END_TO_END
    elif n == 9:
        if is_word(p, n, b"forwarded", 9):
            return FIELD_END_TO_END
    elif n == 10:
        if is_word(p, n, b"connection", 10):
            return FIELD_CONNECTION
        if is_word(p, n, b"keep-alive", 10):
            return FIELD_HOP
        if is_word(p, n, b"set-cookie", 10):
            return FIELD_END_TO_END
    elif n == 12:
        if is_word(p, n, b"content-type", 12):
            return FIELD_END_TO_END
    elif n == 13:
        if is_word(p, n, b"authorization", 13) or is_word(p, n, b"cache-control", 13) or \
                is_word(p, n, b"content-range", 13):
            return FIELD_END_TO_END
    else:
        return long_field_name(p, n)
    return FIELD_OTHER


cdef inline FieldName long_field_name(const uint8_t *p, size_t n) noexcept nogil:
    if n == 14:
        if is_word(p, n, b"content-length", 14):
            return FIELD_CONTENT_LENGTH
        if is_word(p, n, b"http2-settings", 14):
            return FIELD_HOP
    elif n == 15:
        if is_word(p, n, b"x-forwarded-for", 15):
            return FIELD_END_TO_END
    elif n == 16:
        if is_word(p, n, b"proxy-connection", 16):
            return FIELD_HOP
        if is_word(p, n, b"content-encoding", 16) or is_word(p, n, b"x-forwarded-host", 16):
            return FIELD_END_TO_END
    elif n == 17:
        if is_word(p, n, b"transfer-encoding", 17):
            return FIELD_TRANSFER_ENCODING
        if is_word(p, n, b"x-forwarded-proto", 17):
            return FIELD_END_TO_END
    elif n == LONGEST_FIELD_NAME:
        if is_word(p, n, b"proxy-authorization", 19):
            return FIELD_END_TO_END
    return FIELD_OTHER
