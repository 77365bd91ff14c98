"""A header block as it travels: reference-counted buffers from the receiving session to the sending one.

Fields are checked once, as they arrive (RFC 9113, sections 8.2 and 8.3; semantics: 8), and never become Python objects.
libnghttp2's own message checks are off: what they do to an offender differs from release to release, and here one
bad message must end one stream, never the connection that other callers share.

A block that is malformed says so in `error`; one over the limits in `too_large`, and its further fields are dropped.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp

from proxy.dataplane.memory cimport pool_free, pool_malloc, pool_realloc
from proxy.dataplane.nghttp2 cimport (
    NGHTTP2_NV_FLAG_NO_INDEX,
    NGHTTP2_NV_FLAG_NONE,
    nghttp2_check_header_name,
    nghttp2_check_header_value_rfc9113,
    nghttp2_nv,
    nghttp2_rcbuf,
    nghttp2_rcbuf_decref,
    nghttp2_rcbuf_get_buf,
    nghttp2_rcbuf_incref,
    nghttp2_vec,
)


cdef bint same(nghttp2_vec v, const char *text, size_t n) noexcept nogil:
    return v.len == n and memcmp(v.base, text, n) == 0


cdef uint8_t token_of(nghttp2_vec v) noexcept nogil:
    cdef const char *s = <const char *> v.base
    if v.len == 0:
        return OTHER
    if s[0] == b':':
        if same(v, b":path", 5):
            return PATH
        if same(v, b":method", 7):
            return METHOD
        if same(v, b":scheme", 7):
            return SCHEME
        if same(v, b":status", 7):
            return STATUS
        if same(v, b":authority", 10):
            return AUTHORITY
        return UNKNOWN_PSEUDO
    if v.len == 2 and s[0] == b't' and s[1] == b'e':
        return TE
    if v.len == 4 and memcmp(s, b"host", 4) == 0:
        return HOST
    if v.len == 7 and memcmp(s, b"upgrade", 7) == 0:
        return CONNECTION_SPECIFIC
    if v.len == 10:
        if memcmp(s, b"connection", 10) == 0 or memcmp(s, b"keep-alive", 10) == 0:
            return CONNECTION_SPECIFIC
    elif v.len == 11:
        if memcmp(s, b"grpc-status", 11) == 0:
            return GRPC_STATUS
    elif v.len == 12:
        if memcmp(s, b"content-type", 12) == 0:
            return CONTENT_TYPE
        if memcmp(s, b"grpc-timeout", 12) == 0:
            return GRPC_TIMEOUT
    elif v.len == 14:
        if memcmp(s, b"content-length", 14) == 0:
            return CONTENT_LENGTH
    elif v.len == 16:
        if memcmp(s, b"proxy-connection", 16) == 0:
            return CONNECTION_SPECIFIC
    elif v.len == 17:
        if memcmp(s, b"transfer-encoding", 17) == 0:
            return CONNECTION_SPECIFIC
    return OTHER


cdef double parse_timeout(nghttp2_vec v) noexcept nogil:
    """grpc-timeout: 1 to 8 digits and a unit (PROTOCOL-HTTP2, "Timeout"). Seconds, or -1 when malformed."""
    cdef int64_t n = 0
    cdef size_t i
    cdef uint8_t unit
    if v.len < 2 or v.len > 9:
        return -1
    for i in range(v.len - 1):
        if v.base[i] < b'0' or v.base[i] > b'9':
            return -1
        n = n * 10 + (v.base[i] - 48)
    unit = v.base[v.len - 1]
    if unit == b'H':
        return n * 3600.0
    if unit == b'M':
        return n * 60.0
    if unit == b'S':
        return <double> n
    if unit == b'm':
        return n * 1e-3
    if unit == b'u':
        return n * 1e-6
    if unit == b'n':
        return n * 1e-9
    return -1


cdef size_t format_timeout(double seconds, char *out) noexcept nogil:
    """The finest unit that fits in 8 digits; `out` has room for 16 bytes. At least 1 ns: 0 would be no time at all."""
    if seconds < 0.09:
        return snprintf(out, 16, b"%lldn", <long long> max(seconds * 1e9, 1.0))
    if seconds < 90:
        return snprintf(out, 16, b"%lldu", <long long> (seconds * 1e6))
    if seconds < 90_000:
        return snprintf(out, 16, b"%lldm", <long long> (seconds * 1e3))
    if seconds < 90_000_000:
        return snprintf(out, 16, b"%lldS", <long long> seconds)
    return snprintf(out, 16, b"%lldH", <long long> min(seconds / 3600, 99_999_999.0))


cdef int64_t parse_length(nghttp2_vec v) noexcept nogil:
    """content-length: digits only, below 2**63. -1 when it is anything else (signed, a list, overflowing)."""
    cdef int64_t n = 0
    cdef size_t i
    if v.len == 0 or v.len > 19:
        return -1
    for i in range(v.len):
        if v.base[i] < b'0' or v.base[i] > b'9':
            return -1
        if n > (<int64_t> 0x7FFFFFFFFFFFFFFF - (v.base[i] - 48)) // 10:
            return -1
        n = n * 10 + (v.base[i] - 48)
    return n


cdef int parse_number(nghttp2_vec v, size_t most) noexcept nogil:
    """Up to `most` (at most 9) digits; -1 when it is anything else."""
    cdef int n = 0
    cdef size_t i
    if v.len == 0 or v.len > most:
        return -1
    for i in range(v.len):
        if v.base[i] < b'0' or v.base[i] > b'9':
            return -1
        n = n * 10 + (v.base[i] - 48)
    return n


cdef bint good_path(nghttp2_vec v) noexcept nogil:
    """Origin form only: it starts with a slash and has no blank, '#', control or 8-bit character."""
    cdef size_t i
    if v.len == 0 or v.base[0] != b'/':
        return False
    for i in range(v.len):
        if v.base[i] <= 0x20 or v.base[i] >= 0x7F or v.base[i] == b'#':
            return False
    return True


cdef bint good_authority(nghttp2_vec v) noexcept nogil:
    """No userinfo, blank, slash or other delimiter that would make host and port ambiguous (RFC 3986, section 3.2)."""
    cdef size_t i
    cdef uint8_t c
    if v.len == 0:
        return False
    for i in range(v.len):
        c = v.base[i]
        if c <= 0x20 or c >= 0x7F or memchr(b'@/\\?#"<>,`{}|^', c, 14) != NULL:
            return False
    return True


cdef bint good_method(nghttp2_vec v) noexcept nogil:
    """A token (RFC 9110, section 5.6.2)."""
    cdef size_t i
    cdef uint8_t c
    if v.len == 0:
        return False
    for i in range(v.len):
        c = v.base[i]
        if c <= 0x20 or c >= 0x7F or memchr(b'"(),/:;<=>?@[\\]{}', c, 17) != NULL:
            return False
    return True


cdef bint good_scheme(nghttp2_vec v) noexcept nogil:
    cdef size_t i
    cdef uint8_t c
    if v.len == 0:
        return False
    for i in range(v.len):
        c = v.base[i]
        if not (b'a' <= c <= b'z' or b'A' <= c <= b'Z' or (i and (b'0' <= c <= b'9' or c in (b'+', b'-', b'.')))):
            return False
    return True


cdef bint grpc_content_type(nghttp2_vec v) noexcept nogil:
    """application/grpc, then the end, '+' or ';' (semantics: 1)."""
    return v.len >= 16 and memcmp(v.base, b"application/grpc", 16) == 0 and (
        v.len == 16 or v.base[16] == b'+' or v.base[16] == b';')


cdef HeaderBlock new_block(Kind kind):
    cdef HeaderBlock block = HeaderBlock.__new__(HeaderBlock)
    block.kind = kind
    return block


@cython.freelist(256)
cdef class HeaderBlock:
    def __cinit__(self):
        cdef int i
        self.capacity = 12
        self.fields = <Field *> pool_malloc(self.capacity * sizeof(Field))
        if self.fields == NULL:
            raise MemoryError
        self.grpc_status = -1
        self.content_length = -1
        self.timeout = -1
        self.host = -1
        for i in range(7):
            self.pseudo[i] = -1

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            nghttp2_rcbuf_decref(self.fields[i].name)
            nghttp2_rcbuf_decref(self.fields[i].value)
        pool_free(self.fields)

    cdef void refuse(self, const char *why) noexcept:
        if self.error == NULL:
            self.error = why

    cdef int add(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, Py_ssize_t max_fields,
                 Py_ssize_t max_bytes) noexcept:
        """Take one field. Returns 0, or -1 when there is no memory."""
        cdef nghttp2_vec n = nghttp2_rcbuf_get_buf(name)
        cdef nghttp2_vec v = nghttp2_rcbuf_get_buf(value)
        cdef Field *field
        cdef uint8_t token
        self.size += n.len + v.len + 32
        if self.error != NULL:
            return 0
        if self.count >= max_fields or self.size > max_bytes:
            self.too_large = True
            if token_of(n) == CONTENT_TYPE:
                self.is_grpc = grpc_content_type(v)         # to know how to answer
            return 0
        token = token_of(n)
        if self.count == self.capacity:
            field = <Field *> pool_realloc(self.fields, 2 * self.capacity * sizeof(Field))
            if field == NULL:
                return -1
            self.fields = field
            self.capacity *= 2
        nghttp2_rcbuf_incref(name)
        nghttp2_rcbuf_incref(value)
        field = &self.fields[self.count]
        field.name = name
        field.value = value
        field.flags = flags & NGHTTP2_NV_FLAG_NO_INDEX
        field.token = token
        self.count += 1
        if AUTHORITY <= token <= UNKNOWN_PSEUDO:
            self.read_pseudo(token, v)
        else:
            self.read_regular(token, n, v)
        return 0

    cdef void read_pseudo(self, uint8_t token, nghttp2_vec v) noexcept:
        if self.kind == TRAILERS:
            self.refuse(b"pseudo-header in trailers")
        elif self.regular_seen:
            self.refuse(b"pseudo-header after a regular one")
        elif token == UNKNOWN_PSEUDO or (token == STATUS) != (self.kind == RESPONSE):
            self.refuse(b"unknown pseudo-header")
        elif self.pseudo[token] >= 0:
            self.refuse(b"repeated pseudo-header")
        elif token == PATH:
            if not good_path(v):
                self.refuse(b"malformed :path")
        elif token == AUTHORITY:
            if not good_authority(v):
                self.refuse(b"malformed :authority")
        elif token == METHOD:
            self.is_head = same(v, b"HEAD", 4)
            if not good_method(v) or same(v, b"CONNECT", 7):
                self.refuse(b"malformed or unsupported :method")
        elif token == SCHEME:
            if not good_scheme(v):
                self.refuse(b"malformed :scheme")
        else:
            self.status = parse_number(v, 3)
            if self.status < 100 or self.status == 101:
                self.refuse(b"malformed :status")
        if token < UNKNOWN_PSEUDO:
            self.pseudo[token] = self.count - 1

    cdef void read_regular(self, uint8_t token, nghttp2_vec n, nghttp2_vec v) noexcept:
        self.regular_seen = True
        if token == OTHER:
            if not nghttp2_check_header_name(n.base, n.len):
                self.refuse(b"malformed header name")
                return
        elif token == CONNECTION_SPECIFIC:
            self.refuse(b"connection-specific header")
            return
        if not nghttp2_check_header_value_rfc9113(v.base, v.len):
            self.refuse(b"malformed header value")
            return
        if token == OTHER:
            return
        if token == TE:
            if not same(v, b"trailers", 8):
                self.refuse(b"te other than trailers")
        elif token == CONTENT_TYPE:
            self.is_grpc = grpc_content_type(v)
        elif token == CONTENT_LENGTH:
            if self.kind == TRAILERS:
                self.refuse(b"content-length in trailers")
            elif self.content_length >= 0:
                self.refuse(b"repeated content-length")
            else:
                self.content_length = parse_length(v)
                if self.content_length < 0:
                    self.refuse(b"malformed content-length")
        elif token == HOST:
            if self.kind == TRAILERS:
                self.refuse(b"host in trailers")
            elif self.kind == REQUEST:
                if self.host >= 0:
                    self.refuse(b"repeated host")
                elif not good_authority(v):
                    self.refuse(b"malformed host")
                self.host = self.count - 1
        elif token == GRPC_TIMEOUT:
            if self.kind == REQUEST and not self.has_timeout:
                self.timeout = parse_timeout(v)
                self.has_timeout = self.timeout >= 0
        elif token == GRPC_STATUS:
            self.grpc_status = parse_number(v, 9)
            if self.grpc_status < 0:
                self.grpc_status = 2

    cdef void complete(self) noexcept:
        """All fields are here: check what only the whole block shows."""
        cdef nghttp2_vec host, authority
        if self.error != NULL or self.too_large:
            return
        if self.kind == REQUEST:
            if self.pseudo[<int> METHOD] < 0 or self.pseudo[<int> SCHEME] < 0 or self.pseudo[<int> PATH] < 0:
                self.refuse(b"missing pseudo-header")
            elif self.host >= 0 and self.pseudo[<int> AUTHORITY] >= 0:
                host = nghttp2_rcbuf_get_buf(self.fields[self.host].value)
                authority = self.value_of(AUTHORITY)
                if host.len != authority.len or memcmp(host.base, authority.base, host.len) != 0:
                    self.refuse(b"host differs from :authority")
                self.drop_host = True
        elif self.kind == RESPONSE and self.status == 0:
            self.refuse(b"missing :status")

    cdef nghttp2_vec value_of(self, Name name) noexcept:
        cdef nghttp2_vec none
        if self.pseudo[<int> name] < 0:
            none.base = NULL
            none.len = 0
            return none
        return nghttp2_rcbuf_get_buf(self.fields[self.pseudo[<int> name]].value)

    cdef nghttp2_vec authority(self) noexcept:
        """:authority, or host where a request has only that (RFC 9113, section 8.3.1)."""
        if self.pseudo[<int> AUTHORITY] < 0 and self.host >= 0:
            return nghttp2_rcbuf_get_buf(self.fields[self.host].value)
        return self.value_of(AUTHORITY)

    cdef size_t render(self, nghttp2_nv *out, nghttp2_vec timeout) noexcept:
        """Write the fields into `out`, which has room for count + 1; returns how many there are.

        With a `timeout` (base not NULL) grpc-timeout is replaced by it, or added. libnghttp2 copies names and values.
        """
        cdef Py_ssize_t i
        cdef size_t n = 0
        cdef Field *field
        cdef nghttp2_vec name, value
        cdef bint replaced = timeout.base == NULL
        for i in range(self.count):
            field = &self.fields[i]
            if field.token == HOST and self.drop_host:
                continue
            value = nghttp2_rcbuf_get_buf(field.value)
            if field.token == GRPC_TIMEOUT and timeout.base != NULL:
                if replaced:
                    continue
                value = timeout
                replaced = True
            name = nghttp2_rcbuf_get_buf(field.name)
            out[n].name = name.base
            out[n].namelen = name.len
            out[n].value = value.base
            out[n].valuelen = value.len
            out[n].flags = field.flags
            n += 1
        if not replaced:
            out[n].name = <uint8_t *> b"grpc-timeout"
            out[n].namelen = 12
            out[n].value = timeout.base
            out[n].valuelen = timeout.len
            out[n].flags = NGHTTP2_NV_FLAG_NONE
            n += 1
        return n
