# The target of a request, in the four forms of RFC 9112, section 3.2, each only where it has a meaning.

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr

from proxy.dataplane.headers cimport good_authority, good_path
from proxy.dataplane.http1text cimport is_hex, is_word, part_of
from proxy.dataplane.nghttp2 cimport nghttp2_vec


cdef enum TargetForm:
    MALFORMED
    ORIGIN_FORM
    ABSOLUTE_FORM
    AUTHORITY_FORM
    ASTERISK_FORM


cdef struct Target:
    nghttp2_vec authority       # nothing (base NULL) in origin and asterisk form
    nghttp2_vec path            # with the query; nothing in authority form


cdef inline ssize_t port_at(nghttp2_vec v) noexcept nogil:
    """Where the colon before the port is in host[:port]; 0: no port; -1: malformed (RFC 3986, section 3.2)."""
    cdef size_t i = 0
    cdef size_t port
    cdef uint32_t number = 0
    if not good_authority(v):
        return -1
    if v.base[0] == b'[':
        i = 1
        while i < v.len and (is_hex(v.base[i]) or v.base[i] == b':' or v.base[i] == b'.'):
            i += 1
        if i == 1 or i == v.len or v.base[i] != b']':
            return -1
        i += 1
    else:
        while i < v.len and v.base[i] not in (b':', b'[', b']'):
            i += 1
    if i == v.len:
        return 0
    port = i + 1
    if i == 0 or v.base[i] != b':' or not 1 <= v.len - port <= 5:
        return -1
    for i in range(port, v.len):
        if not b'0' <= v.base[i] <= b'9':
            return -1
        number = number * 10 + v.base[i] - 48
    return <ssize_t> port - 1 if number < 65536 else -1


cdef inline TargetForm parse_target(nghttp2_vec t, bint connect, bint options, Target *out) noexcept nogil:
    """Fills `out` unless the answer is MALFORMED."""
    out.authority = out.path = part_of(NULL, 0)
    if connect:
        out.authority = t
        return AUTHORITY_FORM if port_at(t) > 0 else MALFORMED
    if t.base[0] == b'/':
        out.path = t
        return ORIGIN_FORM if good_path(t) else MALFORMED
    if options and t.len == 1 and t.base[0] == b'*':
        out.path = t
        return ASTERISK_FORM
    return parse_absolute(t, options, out)


cdef inline TargetForm parse_absolute(nghttp2_vec t, bint options, Target *out) noexcept nogil:
    """http(s)://authority/path. Without a path, a query would have none to belong to: not accepted."""
    cdef const uint8_t *slash
    cdef const char *no_path = b"/"
    cdef size_t start
    if t.len > 7 and is_word(t.base, 7, b"http://", 7):
        start = 7
    elif t.len > 8 and is_word(t.base, 8, b"https://", 8):
        start = 8
    else:
        return MALFORMED
    slash = <const uint8_t *> memchr(t.base + start, b'/', t.len - start)
    if slash == NULL:
        out.authority = part_of(t.base + start, t.len - start)
        if options:
            no_path = b"*"
        out.path = part_of(<const uint8_t *> no_path, 1)
    else:
        out.authority = part_of(t.base + start, slash - t.base - start)
        out.path = part_of(slash, t.base + t.len - slash)
    if port_at(out.authority) < 0 or (slash != NULL and not good_path(out.path)):
        return MALFORMED
    return ABSOLUTE_FORM
