# Walks a chunked body as it streams by, to know where it ends (RFC 9112, section 7.1; semantics: 11).
#
# The framing is forwarded as it came, so whatever another reader might understand differently is refused: line ends
# other than CRLF, blanks, sizes of 16 digits or more, extensions that are long or quoted, and trailers that a head
# would not have or that change what its reader makes of the message. Payload is skipped, not looked at.

from libc.stdint cimport uint8_t, uint64_t

from proxy.dataplane.http1fields cimport FIELD_OTHER, LONGEST_FIELD_NAME, field_name
from proxy.dataplane.http1text cimport is_text, is_token

cdef enum:
    MAX_CHUNK_DIGITS = 15           # below 2**60: sums of sizes do not overflow
    MAX_CHUNK_LINE_BYTES = 256      # size and extensions, without CRLF
    MAX_TRAILER_BYTES = 16384


cdef enum ChunkState:
    CHUNK_SIZE
    CHUNK_EXTENSION_NAME
    CHUNK_EXTENSION_VALUE
    CHUNK_SIZE_LF
    CHUNK_PAYLOAD
    CHUNK_PAYLOAD_CR
    CHUNK_PAYLOAD_LF
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    CHUNKS_END_LF


cdef struct ChunkMeter:
    bint done                       # the line that ends the body was seen
    const char *error               # why the body is malformed (static); NULL: it is not
    ChunkState state
    uint64_t size                   # of the current chunk: what is still to come of it
    uint64_t trailer_bytes
    unsigned int word_bytes         # of the current size, or extension's name or value
    unsigned int line_bytes         # of the current size line
    size_t name_len                 # of the current trailer
    uint8_t[LONGEST_FIELD_NAME] name


cdef inline void chunks_start(ChunkMeter *m) noexcept nogil:
    m.done = False
    m.error = NULL
    m.state = CHUNK_SIZE
    m.size = m.trailer_bytes = 0
    m.word_bytes = m.line_bytes = 0
    m.name_len = 0


cdef inline const char *chunks_extension(ChunkMeter *m, uint8_t c) noexcept nogil:
    """One byte of name["="value], both tokens: what is in quotes is where readers differ most."""
    if is_token(c):
        return NULL
    if c == b'=' and m.state == CHUNK_EXTENSION_NAME and m.word_bytes > 1:
        m.state = CHUNK_EXTENSION_VALUE
        m.word_bytes = 0
        return NULL
    return b"malformed chunk extension"


cdef inline const char *chunks_size_line(ChunkMeter *m, uint8_t c) noexcept nogil:
    """One byte of a line with a chunk's size. Returns what is wrong with it, or NULL."""
    cdef uint8_t digit
    if m.state == CHUNK_SIZE_LF:
        if c != b'\n':
            return b"bare CR after a chunk size"
        m.state = CHUNK_PAYLOAD if m.size else TRAILER_NAME
        m.word_bytes = m.line_bytes = 0
        return NULL
    if c == b'\r' and m.word_bytes:
        m.state = CHUNK_SIZE_LF
        return NULL
    m.line_bytes += 1
    if m.line_bytes > MAX_CHUNK_LINE_BYTES:
        return b"chunk extensions too long"
    if c == b';' and m.word_bytes:
        m.state = CHUNK_EXTENSION_NAME
        m.word_bytes = 0
        return NULL
    m.word_bytes += 1
    if m.state != CHUNK_SIZE:
        return chunks_extension(m, c)
    if b'0' <= c <= b'9':
        digit = c - 48
    elif b'a' <= (c | 32) <= b'f':
        digit = (c | 32) - 87
    else:
        return b"malformed chunk size"
    if m.word_bytes > MAX_CHUNK_DIGITS:
        return b"chunk size too long"
    m.size = (m.size << 4) | digit
    return NULL


cdef inline const char *chunks_trailer(ChunkMeter *m, uint8_t c) noexcept nogil:
    """One byte after the last chunk. Returns what is wrong with it, or NULL."""
    m.trailer_bytes += 1
    if m.trailer_bytes > MAX_TRAILER_BYTES:
        return b"trailers too long"
    if m.state == TRAILER_NAME:
        if is_token(c):
            if m.name_len < LONGEST_FIELD_NAME:
                m.name[m.name_len] = c
            m.name_len += 1
        elif c == b':' and m.name_len:
            if m.name_len <= LONGEST_FIELD_NAME and field_name(m.name, m.name_len) != FIELD_OTHER:
                return b"a field that trailers may not have"
            m.name_len = 0
            m.state = TRAILER_VALUE
        elif c == b'\r' and m.name_len == 0:
            m.state = CHUNKS_END_LF
        else:
            return b"malformed trailer name"
    elif m.state == TRAILER_VALUE:
        if c == b'\r':
            m.state = TRAILER_LF
        elif not is_text(c):
            return b"control character in a trailer"
    elif c != b'\n':
        return b"bare CR in trailers"
    elif m.state == TRAILER_LF:
        m.state = TRAILER_NAME
    else:
        m.done = True
    return NULL


cdef inline const char *chunks_step(ChunkMeter *m, uint8_t c) noexcept nogil:
    """One byte that is not payload. Returns what is wrong with it, or NULL."""
    if m.state <= CHUNK_SIZE_LF:
        return chunks_size_line(m, c)
    if m.state >= TRAILER_NAME:
        return chunks_trailer(m, c)
    if m.state == CHUNK_PAYLOAD_CR and c == b'\r':
        m.state = CHUNK_PAYLOAD_LF
    elif m.state == CHUNK_PAYLOAD_LF and c == b'\n':
        m.state = CHUNK_SIZE
    else:
        return b"chunk longer than its size"
    return NULL


cdef inline ssize_t chunks_walk(ChunkMeter *m, const char *data, size_t n, uint64_t *payload) noexcept nogil:
    """How many of n bytes belong to this body: n, or fewer when it ends within them; -1: it is malformed.

    Adds the bytes of payload among them to `payload`, also of those in front of what is malformed.
    """
    cdef size_t i = 0
    cdef uint64_t step
    while i < n and not m.done and m.error == NULL:
        if m.state == CHUNK_PAYLOAD:
            step = min(m.size, <uint64_t> (n - i))
            m.size -= step
            payload[0] += step
            i += step
            if m.size == 0:
                m.state = CHUNK_PAYLOAD_CR
        else:
            m.error = chunks_step(m, data[i])
            i += 1
    return i if m.error == NULL else -1
