"""What the HTTP/1 parsers make of some bytes, for tests and debugging. The data plane itself does not use it.

Bytes are given to the parsers in memory of exactly their length, so that a sanitizer sees each step beyond it.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from proxy.dataplane.chunks cimport ChunkMeter, chunks_start, chunks_walk
from proxy.dataplane.http1head cimport (
    MessageHead,
    Persistence,
    find_head_end,
    parse_request,
    parse_response,
    skip_empty_lines,
)
from proxy.dataplane.nghttp2 cimport nghttp2_vec

BODY_KINDS = ("none", "length", "chunked", "until close")
PERSISTENCE = {"": Persistence.UNSAID, "close": Persistence.CLOSE, "keep-alive": Persistence.KEEP_ALIVE}


cdef bytes text(nghttp2_vec v):
    return v.base[:v.len] if v.base != NULL else b""


cdef str text_or_none(const char *s):
    return s.decode() if s != NULL else None


cdef char *exact_copy(bytes data) except NULL:
    cdef char *copy = <char *> malloc(len(data) or 1)
    if copy == NULL:
        raise MemoryError
    memcpy(copy, <const char *> data, len(data))
    return copy


cdef bytes rendered(MessageHead head, Persistence persistence):
    cdef char *out = <char *> malloc(head.room())
    if out == NULL:
        raise MemoryError
    try:
        return out[:head.render(out, persistence)]
    finally:
        free(out)


cdef dict seen(MessageHead head, Persistence persistence):
    return {
        "error": text_or_none(head.error),
        "too_large": head.too_large,
        "minor": head.minor,
        "status": head.status,
        "body": BODY_KINDS[<int> head.body],
        "content_length": head.content_length,
        "keep_alive": head.keep_alive,
        "is_head": head.is_head,
        "is_connect": head.is_connect,
        "idempotent": head.idempotent,
        "expects_continue": head.expects_continue,
        "upgrade": head.upgrade,
        "absolute": head.absolute,
        "method": text(head.method()),
        "target": text(head.target()),
        "authority": text(head.authority()),
        "path": text(head.path()),
        "rendered": rendered(head, persistence),
    }


def inspect_request(bytes data, str persistence="", Py_ssize_t max_fields=100, Py_ssize_t max_bytes=65536):
    """The attributes of the MessageHead by name, and the head as it is forwarded ("" when it is not)."""
    return seen(parse_request(data, len(data), max_fields, max_bytes), PERSISTENCE[persistence])


def inspect_response(bytes data, bint to_head=False, bint to_connect=False, str persistence="",
                     Py_ssize_t max_fields=100, Py_ssize_t max_bytes=65536):
    """As inspect_request, for the response to a request whose method was HEAD or CONNECT, or neither."""
    return seen(parse_response(data, len(data), max_fields, max_bytes, to_head, to_connect), PERSISTENCE[persistence])


def inspect_head_end(list pieces):
    """What find_head_end says of bytes that arrive in pieces, when it is asked after each, until it has an answer."""
    cdef size_t scanned = 0
    cdef ssize_t end = 0
    cdef bytes data = b""
    cdef char *copy
    for piece in pieces:
        data += piece
        copy = exact_copy(data)
        end = find_head_end(copy, len(data), &scanned)
        free(copy)
        if end:
            break
    return end


def inspect_empty_lines(bytes data):
    """How many bytes of empty lines there are before a head."""
    return skip_empty_lines(data, len(data))


def inspect_chunks(list pieces):
    """Walks a body that arrives in pieces: (its bytes or -1, bytes of payload, whether it ended, what is wrong)."""
    cdef ChunkMeter meter
    cdef uint64_t payload = 0
    cdef ssize_t length = 0, step
    cdef char *copy
    chunks_start(&meter)
    for piece in pieces:
        copy = exact_copy(piece)
        step = chunks_walk(&meter, copy, len(piece), &payload)
        free(copy)
        if step < 0:
            length = -1
            break
        length += step
    return length, payload, meter.done, text_or_none(meter.error)
