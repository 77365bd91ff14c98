"""The head of an HTTP/1.x message: checked once, and forwarded byte for byte but for what belongs to one connection.

RFC 9112 with RFC 9110, sections 5 and 7 (semantics: 8 and 11), and stricter: whatever two readers of the same bytes
might understand differently is malformed, never mended, so what is matched is what is forwarded. Fields are offsets
into a copy of the head and never become Python objects. Nothing here knows about connections or calls.

A head that is malformed says so in `error`; one over the limits in `too_large`. Either is answered and never forwarded.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, strlen

from proxy.dataplane.headers cimport parse_length
from proxy.dataplane.http1fields cimport (
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_EXPECT,
    FIELD_HOP,
    FIELD_HOST,
    FIELD_OTHER,
    FIELD_TE,
    FIELD_TRANSFER_ENCODING,
    FIELD_UPGRADE,
    HeadField,
    field_name,
)
from proxy.dataplane.http1render cimport (
    CONNECTION_BYTES,
    Persistence,
    good_protocols,
    write_connection,
    write_te,
    write_upgrade,
)
from proxy.dataplane.http1target cimport ABSOLUTE_FORM, MALFORMED, Target, TargetForm, parse_target, port_at
from proxy.dataplane.http1text cimport (
    all_text,
    all_token,
    has_member,
    is_blank,
    is_token,
    is_word,
    next_member,
    part_of,
    same_word,
    trimmed,
)
from proxy.dataplane.nghttp2 cimport nghttp2_vec


cdef size_t skip_empty_lines(const char *data, size_t n) noexcept nogil:
    """The length of the empty lines (CRLF) at the start, which may precede a request (RFC 9112, section 2.2)."""
    cdef size_t i = 0
    while i + 2 <= n and data[i] == b'\r' and data[i + 1] == b'\n':
        i += 2
    return i


cdef ssize_t find_head_end(const char *data, size_t n, size_t *scanned) noexcept nogil:
    """The length of the head at the start of `data`, with the empty line that ends it. 0: it is not all there yet.

    -1: this is no head, for it has a bare CR or LF, another control character, or begins with an empty line.
    `scanned` is 0 for a new head; it is how far this call has come and the next one, with more bytes, goes on. It stays
    0 as long as there may be an empty line to skip first.
    """
    cdef const uint8_t *p = <const uint8_t *> data
    cdef const uint8_t *found
    cdef size_t i = scanned[0], line_end
    while i < n:
        found = <const uint8_t *> memchr(p + i, b'\n', n - i)
        if found == NULL:
            line_end = n - (1 if p[n - 1] == b'\r' else 0)      # a CR at the end waits for its LF
            if not all_text(p + i, line_end - i):
                return -1
            scanned[0] = line_end
            return 0
        line_end = found - p
        if line_end == i or p[line_end - 1] != b'\r' or not all_text(p + i, line_end - 1 - i):
            return -1
        i = line_end + 1
        if line_end == 1:
            return -1
        if p[line_end - 2] == b'\n':
            return i
    scanned[0] = i
    return 0


cdef bint refuse(MessageHead head, const char *why) noexcept:
    """The head is malformed. Returns False, for what was read is not to be used."""
    if head.error == NULL:
        head.error = why
    return False


# --- the first line ---

cdef bint read_version(MessageHead head, const uint8_t *p) noexcept:
    """Eight bytes. Only HTTP/1.0 and HTTP/1.1: others may be framed in another way."""
    if memcmp(p, b"HTTP/1.", 7) != 0 or not b'0' <= p[7] <= b'1':
        return refuse(head, b"malformed or unsupported version")
    head.minor = p[7] - 48
    return True


cdef bint read_request_line(MessageHead head, size_t n) noexcept:
    """method SP target SP version, with one blank each (RFC 9112, section 3)."""
    cdef const uint8_t *p = head.data
    cdef const uint8_t *blank = <const uint8_t *> memchr(p, b' ', n)
    cdef size_t target
    if blank == NULL:
        return refuse(head, b"malformed request line")
    head.method_part = part_of(p, blank - p)
    target = blank - p + 1
    if not all_token(head.method_part):
        return refuse(head, b"malformed method")
    if n < target + 10 or p[n - 9] != b' ':
        return refuse(head, b"malformed request line")
    head.target_part = part_of(p + target, n - 9 - target)
    if not read_version(head, p + n - 8):
        return False
    read_method(head)
    return read_target(head)


cdef void read_method(MessageHead head) noexcept:
    """Methods are told apart by case (RFC 9110, section 9.1)."""
    cdef const uint8_t *p = head.method_part.base
    cdef size_t n = head.method_part.len
    head.is_head = n == 4 and memcmp(p, b"HEAD", 4) == 0
    head.is_connect = n == 7 and memcmp(p, b"CONNECT", 7) == 0
    head.idempotent = head.is_head or (n == 3 and (memcmp(p, b"GET", 3) == 0 or memcmp(p, b"PUT", 3) == 0)) or (
        n == 7 and memcmp(p, b"OPTIONS", 7) == 0) or (n == 5 and memcmp(p, b"TRACE", 5) == 0) or (
        n == 6 and memcmp(p, b"DELETE", 6) == 0)


cdef bint read_target(MessageHead head) noexcept:
    cdef Target target
    cdef bint options = head.method_part.len == 7 and memcmp(head.method_part.base, b"OPTIONS", 7) == 0
    cdef TargetForm form = parse_target(head.target_part, head.is_connect, options, &target)
    if form == MALFORMED:
        return refuse(head, b"malformed target")
    head.absolute = form == ABSOLUTE_FORM
    head.authority_part = target.authority
    head.path_part = target.path
    return True


cdef bint read_status_line(MessageHead head, size_t n) noexcept:
    """version SP status SP [reason] (RFC 9112, section 4). Without a reason, the blank before it may be missing too."""
    cdef const uint8_t *p = head.data
    cdef size_t i
    if n < 12 or p[8] != b' ' or (n > 12 and p[12] != b' '):
        return refuse(head, b"malformed status line")
    if not read_version(head, p):
        return False
    for i in range(9, 12):
        if not b'0' <= p[i] <= b'9':
            return refuse(head, b"malformed status")
        head.status = head.status * 10 + p[i] - 48
    if not 100 <= head.status <= 599:
        return refuse(head, b"malformed status")
    return all_text(p + 12, n - 12) or refuse(head, b"control character in the reason")


# --- fields ---

cdef bint read_fields(MessageHead head, size_t start, Py_ssize_t max_fields) except -1:
    """All lines from `start` to the end of the head. False: malformed, or too many."""
    cdef const uint8_t *lf
    cdef HeadField *field
    cdef size_t end
    while True:
        lf = <const uint8_t *> memchr(head.data + start, b'\n', head.size - start) if start < head.size else NULL
        if lf == NULL or lf == head.data + start or (lf - 1)[0] != b'\r':
            return refuse(head, b"line does not end with CRLF")
        end = lf - head.data + 1
        if end - start == 2:
            return end == head.size or refuse(head, b"bytes after the end of the head")
        if head.count == max_fields:
            head.too_large = True
            return False
        if head.count == head.capacity:
            field = <HeadField *> realloc(head.fields, 2 * head.capacity * sizeof(HeadField))
            if field == NULL:
                raise MemoryError
            head.fields = field
            head.capacity *= 2
        field = &head.fields[head.count]
        field.start = <uint32_t> start
        field.end = <uint32_t> end
        if not read_field(head, field):
            return False
        head.count += 1
        if field.name != FIELD_OTHER and not read_meaning(head, field):
            return False
        start = end


cdef bint read_field(MessageHead head, HeadField *field) noexcept:
    """name ":" value CRLF. The name ends at the colon, so blanks before it and folded lines are malformed."""
    cdef const uint8_t *p = head.data
    cdef nghttp2_vec value
    cdef uint32_t i = field.start
    cdef uint32_t end = field.end - 2
    while i < end and is_token(p[i]):
        i += 1
    if i == field.start and is_blank(p[i]):
        return refuse(head, b"folded line")
    if i == field.start or i == end or p[i] != b':':
        return refuse(head, b"malformed field name")
    field.name_len = i - field.start
    field.name = field_name(p + field.start, field.name_len)
    field.dropped = False
    i += 1
    if not all_text(p + i, end - i):
        return refuse(head, b"control character in a field")
    value = trimmed(part_of(p + i, end - i))
    field.value = <uint32_t> (value.base - p)
    field.value_len = <uint32_t> value.len
    return True


cdef nghttp2_vec value_of(MessageHead head, HeadField *field) noexcept:
    return part_of(head.data + field.value, field.value_len)


cdef bint has_tab(MessageHead head, HeadField *field) noexcept:
    """Blank as a tab is, not all readers of framing fields pass over it."""
    return memchr(head.data + field.start, b'\t', field.end - field.start) != NULL


cdef bint read_meaning(MessageHead head, HeadField *field) noexcept:
    cdef nghttp2_vec value = value_of(head, field)
    if field.name == FIELD_CONTENT_LENGTH:
        if head.content_length >= 0:
            return refuse(head, b"repeated content-length")
        if has_tab(head, field):
            return refuse(head, b"malformed content-length")
        head.content_length = parse_length(value)
        return head.content_length >= 0 or refuse(head, b"malformed content-length")
    if field.name == FIELD_TRANSFER_ENCODING:
        if head.has_transfer_encoding or head.minor == 0 or has_tab(head, field) or \
                not is_word(value.base, value.len, b"chunked", 7):
            return refuse(head, b"transfer-encoding other than chunked")
        head.has_transfer_encoding = True
    elif field.name == FIELD_HOST:
        if head.status == 0:
            if head.host >= 0:
                return refuse(head, b"repeated host")
            head.host = head.count - 1
    elif field.name == FIELD_CONNECTION:
        head.has_connection = field.dropped = True
    elif field.name == FIELD_HOP:
        field.dropped = True
    elif field.name == FIELD_TE:
        field.dropped = not has_member(value, b"trailers", 8)
        head.wants_trailers |= not field.dropped
    elif field.name == FIELD_EXPECT:
        head.expects_continue |= head.minor == 1 and has_member(value, b"100-continue", 12)
    elif field.name == FIELD_UPGRADE:
        return good_protocols(value, &head.offers_upgrade) or refuse(head, b"malformed upgrade")
    return True


cdef bint read_connection(MessageHead head, Py_ssize_t most) noexcept:
    """The options in Connection, and the fields it names (RFC 9110, section 7.6.1).

    A field that is of the message, not of the connection, may not be named: it would be there for one reader and not
    for the next. Several Connection fields are one list. At most `most` options, since each is sought in all fields.
    """
    cdef Py_ssize_t i
    cdef nghttp2_vec rest, option
    for i in range(head.count):
        if head.fields[i].name != FIELD_CONNECTION:
            continue
        rest = value_of(head, &head.fields[i])
        while next_member(&rest, &option):
            most -= 1
            if most < 0:
                head.too_large = True
                return False
            if not all_token(option):
                return refuse(head, b"malformed connection")
            if field_name(option.base, option.len) > FIELD_UPGRADE:
                return refuse(head, b"connection names a field of the message")
            read_option(head, option)
    return True


cdef void read_option(MessageHead head, nghttp2_vec option) noexcept:
    cdef Py_ssize_t i
    cdef HeadField *field
    if is_word(option.base, option.len, b"close", 5):
        head.says_close = True
    elif is_word(option.base, option.len, b"keep-alive", 10):
        head.says_keep_alive = True
    elif is_word(option.base, option.len, b"upgrade", 7):
        head.says_upgrade = True
    for i in range(head.count):
        field = &head.fields[i]
        if field.name == FIELD_OTHER and same_word(option, part_of(head.data + field.start, field.name_len)):
            field.dropped = True


# --- what only the whole head shows ---

cdef bint check_framing(MessageHead head, Py_ssize_t max_fields) noexcept:
    """What requests and responses have in common."""
    if head.has_transfer_encoding and head.content_length >= 0:
        return refuse(head, b"both content-length and transfer-encoding")
    if head.has_connection and not read_connection(head, max_fields):
        return False
    head.keep_alive = not head.says_close and (head.minor == 1 or head.says_keep_alive)
    if head.has_transfer_encoding:
        head.body = CHUNKED
    elif head.content_length > 0:
        head.body = LENGTH
    return True


cdef bint check_host(MessageHead head) noexcept:
    """One Host in HTTP/1.1, equal to the target's authority if that has one (RFC 9112, section 3.2)."""
    cdef nghttp2_vec host, authority = head.authority_part
    cdef ssize_t colon
    if head.host < 0:
        return head.minor == 0 or refuse(head, b"missing host")
    host = value_of(head, &head.fields[head.host])
    if authority.len == 0:
        head.authority_part = host
        return port_at(host) >= 0 or refuse(head, b"malformed host")
    if host.len == 0 or same_word(host, authority):
        return True
    colon = port_at(authority)
    if head.is_connect and same_word(host, part_of(authority.base, colon)):
        return True     # many clients leave the port out of it
    return refuse(head, b"host differs from the target")


cdef void finish_request(MessageHead head, Py_ssize_t max_fields) noexcept:
    if not check_framing(head, max_fields) or not check_host(head):
        return
    if head.is_connect and head.body != NO_BODY:
        refuse(head, b"CONNECT with a body")
    # With a body it is no upgrade, for readers differ on whether the body comes before the tunnel or is its beginning.
    head.upgrade = head.keeps_upgrade = head.offers_upgrade and head.says_upgrade and head.minor == 1 and \
        head.body == NO_BODY and not head.is_connect


cdef void finish_response(MessageHead head, Py_ssize_t max_fields, bint to_head, bint to_connect) noexcept:
    """RFC 9112, section 6.3. A body where there can be none is malformed: some other reader might look for it."""
    cdef bint tunnel = head.status == 101 or (to_connect and 200 <= head.status < 300)
    if not check_framing(head, max_fields):
        return
    if tunnel or head.status < 200 or head.status == 204:
        if head.body != NO_BODY:
            refuse(head, b"a body where there can be none")
    elif to_head or head.status == 304:
        head.body = NO_BODY
    elif head.body == NO_BODY and head.content_length < 0:
        head.body = UNTIL_CLOSE
    if tunnel or head.body == UNTIL_CLOSE:
        head.keep_alive = False
    if head.status == 101:
        head.upgrade = head.offers_upgrade and head.says_upgrade and head.minor == 1
        if not head.upgrade:
            refuse(head, b"101 without an upgrade")
    head.keeps_upgrade = head.offers_upgrade and head.says_upgrade and head.status in (101, 426)


cdef MessageHead new_head(const char *data, size_t n, Py_ssize_t max_bytes):
    cdef MessageHead head = MessageHead.__new__(MessageHead)
    if <Py_ssize_t> n > max_bytes or n > 0x7FFFFFFF:
        head.too_large = True
        return head
    head.data = <uint8_t *> malloc(n + 1)       # + 1: so that none is not asked for
    if head.data == NULL:
        raise MemoryError
    memcpy(head.data, data, n)
    head.size = <uint32_t> n
    return head


cdef size_t first_line(MessageHead head) noexcept:
    """The length of the first line without its CRLF; 0: there is none."""
    cdef const uint8_t *lf
    if head.too_large:
        return 0
    lf = <const uint8_t *> memchr(head.data, b'\n', head.size)
    if lf == NULL or lf - head.data < 2 or (lf - 1)[0] != b'\r':
        refuse(head, b"line does not end with CRLF")
        return 0
    return lf - head.data - 1


cdef MessageHead parse_request(const char *data, size_t n, Py_ssize_t max_fields, Py_ssize_t max_bytes):
    """`data` is one head, with the empty line that ends it (see find_head_end)."""
    cdef MessageHead head = new_head(data, n, max_bytes)
    cdef size_t line = first_line(head)
    if line and read_request_line(head, line) and read_fields(head, line + 2, max_fields):
        finish_request(head, max_fields)
    return head


cdef MessageHead parse_response(const char *data, size_t n, Py_ssize_t max_fields, Py_ssize_t max_bytes,
                                bint to_head, bint to_connect):
    """As parse_request; `to_head` and `to_connect` are the method of the request that it answers."""
    cdef MessageHead head = new_head(data, n, max_bytes)
    cdef size_t line = first_line(head)
    if line and read_status_line(head, line) and read_fields(head, line + 2, max_fields):
        finish_response(head, max_fields, to_head, to_connect)
    return head


@cython.freelist(64)
cdef class MessageHead:
    def __cinit__(self):
        self.capacity = 16
        self.fields = <HeadField *> malloc(self.capacity * sizeof(HeadField))
        if self.fields == NULL:
            raise MemoryError
        self.content_length = -1
        self.host = -1

    def __dealloc__(self):
        free(self.fields)
        free(self.data)

    cdef nghttp2_vec find(self, const char *name) noexcept:
        """The value of the first field of this name (in lower case); of length 0 when there is none."""
        cdef Py_ssize_t i
        cdef nghttp2_vec wanted = part_of(<const uint8_t *> name, strlen(name))
        for i in range(self.count):
            if same_word(wanted, part_of(self.data + self.fields[i].start, self.fields[i].name_len)):
                return value_of(self, &self.fields[i])
        return part_of(NULL, 0)

    cdef nghttp2_vec method(self) noexcept:
        return self.method_part

    cdef nghttp2_vec target(self) noexcept:
        return self.target_part

    cdef nghttp2_vec authority(self) noexcept:
        """Of the target if it has one, else Host. Nothing (base NULL): HTTP/1.0 without either."""
        return self.authority_part

    cdef nghttp2_vec path(self) noexcept:
        """With the query. "/" or, for OPTIONS, "*" if the target has none; nothing for CONNECT."""
        return self.path_part

    cdef size_t room(self) noexcept:
        """What `render` may write at most."""
        return self.size + CONNECTION_BYTES

    cdef size_t render(self, char *out, Persistence persistence) noexcept:
        """Write the head as it is forwarded, its end included; returns its length. Nothing, if it must not be."""
        cdef Py_ssize_t i
        cdef HeadField *field
        cdef size_t n
        if self.error != NULL or self.too_large:
            return 0
        n = self.fields[0].start if self.count else self.size - 2
        memcpy(out, self.data, n)
        for i in range(self.count):
            field = &self.fields[i]
            if field.dropped:
                continue
            if field.name == FIELD_UPGRADE:
                if self.keeps_upgrade:
                    n += write_upgrade(self.data, field, out + n)
            elif field.name == FIELD_TE:
                n += write_te(self.data, field, out + n)
            else:
                memcpy(out + n, self.data + field.start, field.end - field.start)
                n += field.end - field.start
        n += write_connection(out + n, persistence, self.wants_trailers, self.keeps_upgrade)
        out[n] = b'\r'
        out[n + 1] = b'\n'
        return n + 2
