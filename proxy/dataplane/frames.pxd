# Counts frames as they arrive, before libnghttp2 sees them, to notice peers that send many that carry nothing.
#
# A token bucket: a frame that does work (HEADERS, DATA with bytes, and DATA we sent, which its receiver may answer with
# WINDOW_UPDATE and PING) earns tokens, every other frame costs one, and time earns some. The attacks of semantics, 9
# (PING, SETTINGS, empty DATA, PRIORITY, WINDOW_UPDATE, CONTINUATION, unknown frames) differ in type only; a gRPC
# keepalive PING every 10 s never comes near.

from libc.stdint cimport uint8_t

cdef enum:
    FRAME_HEADER_BYTES = 9
    PREFACE_BYTES = 24
    FRAME_TOKENS = 2000             # burst
    FRAME_TOKENS_PER_S = 100


cdef struct FrameMeter:
    size_t skip                     # bytes of the current frame's payload still to come
    uint8_t[9] header
    size_t header_len
    uint8_t type                    # of the current frame
    double tokens
    double at                       # when time was last credited


cdef inline void frames_start(FrameMeter *m, size_t preface, double now) noexcept nogil:
    m.skip = preface
    m.header_len = 0
    m.type = 1 if preface else 0    # a preface is due like a header
    m.tokens = FRAME_TOKENS
    m.at = now


cdef inline void frames_earn(FrameMeter *m, double tokens) noexcept nogil:
    m.tokens = min(m.tokens + tokens, <double> FRAME_TOKENS)


cdef inline bint frames_incomplete(FrameMeter *m) noexcept nogil:
    """A frame other than DATA, or a frame header, has begun and not ended."""
    return m.header_len > 0 or (m.skip > 0 and m.type != 0)


cdef inline bint frames_count(FrameMeter *m, const uint8_t *data, size_t n, double now) noexcept nogil:
    """Walk n bytes. False: the bucket is empty, and the peer should be cut."""
    cdef size_t i = 0, step, length
    frames_earn(m, (now - m.at) * FRAME_TOKENS_PER_S)
    m.at = now
    while i < n:
        if m.skip:
            step = min(m.skip, n - i)
            m.skip -= step
            i += step
            continue
        m.header[m.header_len] = data[i]
        m.header_len += 1
        i += 1
        if m.header_len < FRAME_HEADER_BYTES:
            continue
        m.header_len = 0
        length = (<size_t> m.header[0] << 16) | (<size_t> m.header[1] << 8) | m.header[2]
        m.type = m.header[3]
        m.skip = length
        # DATA of up to 256 bytes with padding may be padding and nothing else.
        if m.type == 1 or (m.type == 0 and length > (256 if m.header[4] & 8 else 0)):
            frames_earn(m, 2)
        elif m.type == 0 and m.header[4] & 1:
            pass                    # an empty DATA frame that ends its stream is a half-close
        else:
            m.tokens -= 1
            if m.tokens < 0:
                return False
    return True
