# The characters, words and lists that HTTP/1 heads and trailers are made of (RFC 9110, section 5).
# Nothing here knows what a message is.

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from proxy.dataplane.nghttp2 cimport nghttp2_vec


cdef inline bint is_token(uint8_t c) noexcept nogil:
    """RFC 9110, section 5.6.2, as two sets of 64 bits."""
    if c < 64:
        return (<uint64_t> 0x3FF6CFA00000000 >> c) & 1
    return c < 128 and (<uint64_t> 0x57FFFFFFC7FFFFFE >> (c - 64)) & 1


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return c == b' ' or c == b'\t'


cdef inline bint is_hex(uint8_t c) noexcept nogil:
    return b'0' <= c <= b'9' or b'a' <= (c | 32) <= b'f'


cdef inline bint is_text(uint8_t c) noexcept nogil:
    """What a field's value may be made of: no control characters but HTAB (RFC 9110, section 5.5)."""
    return (c >= 0x20 and c != 0x7F) or c == b'\t'


cdef inline bint all_text(const uint8_t *p, size_t n) noexcept nogil:
    """Every byte is_text. Eight at a time; only words with a control character or HTAB are looked at closer."""
    cdef uint64_t word, ones = 0x0101010101010101
    cdef size_t i = 0, j
    while i + 8 <= n:
        memcpy(&word, p + i, 8)
        # The high bit of some byte is set if that byte is below 0x20, or 0x7F; never set if none is.
        if (((word - ones * 0x20) & ~word) | (((word ^ ones * 0x7F) - ones) & ~(word ^ ones * 0x7F))) & (ones * 0x80):
            for j in range(i, i + 8):
                if not is_text(p[j]):
                    return False
        i += 8
    while i < n:
        if not is_text(p[i]):
            return False
        i += 1
    return True


cdef inline bint is_word(const uint8_t *p, size_t n, const char *lower, size_t lower_len) noexcept nogil:
    """Equal to a word given in lower case, regardless of case."""
    cdef size_t i
    cdef uint8_t c
    if n != lower_len:
        return False
    for i in range(n):
        c = p[i]
        if b'A' <= c <= b'Z':
            c += 32
        if c != <uint8_t> lower[i]:
            return False
    return True


cdef inline bint same_word(nghttp2_vec a, nghttp2_vec b) noexcept nogil:
    """Equal regardless of case."""
    cdef size_t i
    cdef uint8_t c, d
    if a.len != b.len:
        return False
    for i in range(a.len):
        c = a.base[i]
        d = b.base[i]
        if c != d and ((c ^ d) != 32 or not b'a' <= (c | 32) <= b'z'):
            return False
    return True


cdef inline nghttp2_vec part_of(const uint8_t *base, size_t n) noexcept nogil:
    cdef nghttp2_vec v
    v.base = <uint8_t *> base
    v.len = n
    return v


cdef inline nghttp2_vec trimmed(nghttp2_vec v) noexcept nogil:
    """Without leading and trailing blanks."""
    while v.len and is_blank(v.base[0]):
        v.base += 1
        v.len -= 1
    while v.len and is_blank(v.base[v.len - 1]):
        v.len -= 1
    return v


cdef inline bint next_member(nghttp2_vec *rest, nghttp2_vec *member) noexcept nogil:
    """Take the next member off a comma-separated list; empty ones are passed over (RFC 9110, section 5.6.1).

    False: there is none. Quotes are not understood, which is right for lists whose members are tokens.
    """
    cdef size_t i
    while rest.len:
        i = 0
        while i < rest.len and rest.base[i] != b',':
            i += 1
        member[0] = trimmed(part_of(rest.base, i))
        if i < rest.len:
            i += 1
        rest.base += i
        rest.len -= i
        if member.len:
            return True
    return False


cdef inline bint all_token(nghttp2_vec v) noexcept nogil:
    cdef size_t i
    for i in range(v.len):
        if not is_token(v.base[i]):
            return False
    return v.len > 0


cdef inline bint has_member(nghttp2_vec rest, const char *lower, size_t n) noexcept nogil:
    cdef nghttp2_vec member
    while next_member(&rest, &member):
        if is_word(member.base, member.len, lower, n):
            return True
    return False
