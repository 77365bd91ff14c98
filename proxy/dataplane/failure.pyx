"""From a failure to what the caller is told, and from an outcome to its class: two tables (semantics: 2 and 3).

Sources: gRPC's statuscodes, http-grpc-status-mapping and PROTOCOL-HTTP2 documents. Owns no state.
"""

from libc.stdint cimport uint32_t

cdef Reply[11] REPLIES
REPLIES[:] = [
    Reply(b"", 200, 0, b""),
    Reply(b"no_endpoint", 503, 14, b"no endpoint is ready"),
    Reply(b"overloaded", 503, 14, b"too many calls wait or run"),
    Reply(b"connect_failed", 503, 14, b"no endpoint could be connected to"),
    Reply(b"refused", 503, 14, b"the endpoint refused the call without processing it"),
    Reply(b"upstream_lost", 502, 14, b"the connection to the endpoint was lost after the request was sent"),
    Reply(b"timeout", 504, 4, b"the deadline was exceeded"),
    Reply(b"upstream_protocol", 502, 13, b"the endpoint broke the protocol"),
    Reply(b"headers_too_large", 431, 8, b"the request's headers are over the limit"),
    Reply(b"loop", 508, 13, b"the call came back to the proxy that sent it"),
    Reply(b"internal", 500, 13, b"fault in the proxy"),
]

CLASSIFICATIONS = ("success", "failure", "cancelled", "retried")
FLAGS = tuple((<bytes> REPLIES[<int> i].name).decode() for i in range(<int> N_FLAGS))


cdef Reply *reply_for(Flag flag) noexcept nogil:
    return &REPLIES[<int> flag]


cdef Classification classify_grpc(int grpc_status) noexcept nogil:
    """Failures are UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS: the server's, not the caller's."""
    if grpc_status in (2, 4, 13, 14, 15):
        return FAILURE
    if grpc_status == 1:
        return CANCELLED
    return SUCCESS


cdef int grpc_status_of_http(int http_status) noexcept nogil:
    """For a response without grpc-status whose :status is not 200."""
    if http_status == 400:
        return 13
    if http_status == 401:
        return 16
    if http_status == 403:
        return 7
    if http_status == 404:
        return 12
    if http_status in (429, 502, 503, 504):
        return 14
    return 2


cdef int grpc_status_of_reset(uint32_t code) noexcept nogil:
    """For a stream that RST_STREAM ended. NO_ERROR before a complete response is as wrong as any other."""
    if code == 7:       # REFUSED_STREAM
        return 14
    if code == 8:       # CANCEL
        return 1
    if code == 11:      # ENHANCE_YOUR_CALM
        return 8
    if code == 12:      # INADEQUATE_SECURITY
        return 7
    return 13


cdef bytes percent_encode(bytes text):
    """grpc-message: printable ASCII but '%' as it is, all else as %XX (PROTOCOL-HTTP2, "Status-Message")."""
    cdef list out = []
    cdef int byte
    for byte in text:
        out.append(b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte)
    return b"".join(out)
