# What is written in place of the fields that belong to one connection (RFC 9110, sections 7.6.1, 7.8 and 10.1.4).
#
# No function here writes more than the line that it replaces had, but for write_connection.

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcpy

from proxy.dataplane.http1fields cimport HeadField
from proxy.dataplane.http1text cimport all_token, is_word, next_member, part_of
from proxy.dataplane.nghttp2 cimport nghttp2_vec

cdef enum:
    CONNECTION_BYTES = 37       # "Connection: keep-alive, TE, Upgrade" and CRLF


cdef enum Persistence:
    """What a rendered head says about the connection that it goes out on."""
    UNSAID = 0          # nothing: the version's default
    CLOSE = 1
    KEEP_ALIVE = 2      # what HTTP/1.0 needs to hear


cdef inline bint is_http2(nghttp2_vec protocol) noexcept nogil:
    """HTTP/2 is never reached by Upgrade: its first request would pass by the proxy's rules."""
    return is_word(protocol.base, protocol.len, b"h2c", 3) or is_word(protocol.base, protocol.len, b"h2", 2)


cdef inline bint good_protocols(nghttp2_vec rest, bint *offered) noexcept nogil:
    """A list of name["/"version] (RFC 9110, section 7.8). `offered` is set if one of them may be switched to."""
    cdef nghttp2_vec member
    cdef const uint8_t *slash
    while next_member(&rest, &member):
        if not is_http2(member):
            offered[0] = True
        slash = <const uint8_t *> memchr(member.base, b'/', member.len)
        if slash != NULL:
            if not all_token(part_of(slash + 1, member.base + member.len - slash - 1)):
                return False
            member.len = slash - member.base
        if not all_token(member):
            return False
    return True


cdef inline size_t write_start(const uint8_t *head, HeadField *field, char *out) noexcept nogil:
    """The line up to its value."""
    memcpy(out, head + field.start, field.value - field.start)
    return field.value - field.start


cdef inline size_t write_te(const uint8_t *head, HeadField *field, char *out) noexcept nogil:
    """Only `trailers`, whatever else is accepted."""
    cdef size_t n = write_start(head, field, out)
    memcpy(out + n, b"trailers\r\n", 10)
    return n + 10


cdef inline size_t write_upgrade(const uint8_t *head, HeadField *field, char *out) noexcept nogil:
    """The protocols other than HTTP/2; nothing if there are no others. Never longer than it came."""
    cdef size_t n = write_start(head, field, out)
    cdef size_t start = n
    cdef nghttp2_vec member, rest = part_of(head + field.value, field.value_len)
    while next_member(&rest, &member):
        if is_http2(member):
            continue
        if n > start:
            out[n] = b','
            n += 1
        memcpy(out + n, member.base, member.len)
        n += member.len
    if n == start:
        return 0
    out[n] = b'\r'
    out[n + 1] = b'\n'
    return n + 2


cdef inline size_t write_option(char *out, size_t n, const char *option, size_t length) noexcept nogil:
    if n == 0:
        memcpy(out, b"Connection: ", 12)
        n = 12
    else:
        memcpy(out + n, b", ", 2)
        n += 2
    memcpy(out + n, option, length)
    return n + length


cdef inline size_t write_connection(char *out, Persistence persistence, bint te, bint upgrade) noexcept nogil:
    """What is said about the connection that the head goes out on, in one field or none."""
    cdef size_t n = 0
    if persistence == CLOSE:
        n = write_option(out, n, b"close", 5)
    elif persistence == KEEP_ALIVE:
        n = write_option(out, n, b"keep-alive", 10)
    if te:
        n = write_option(out, n, b"TE", 2)
    if upgrade:
        n = write_option(out, n, b"Upgrade", 7)
    if n:
        memcpy(out + n, b"\r\n", 2)
        n += 2
    return n
