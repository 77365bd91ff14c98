"""What the proxy says by itself on an HTTP/2 stream: an answer, or the trailers of one that broke (semantics: 2)."""

from libc.stdint cimport int32_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from proxy.dataplane.failure cimport Flag, Reply, percent_encode, reply_for
from proxy.dataplane.nghttp2 cimport *
from proxy.dataplane.session cimport Session, data_provider, nv_scratch


cdef void set_nv(nghttp2_nv *nv, const char *name, const char *value, size_t value_len) noexcept nogil:
    nv.name = <uint8_t *> name
    nv.namelen = strlen(name)
    nv.value = <uint8_t *> value
    nv.valuelen = value_len
    nv.flags = NGHTTP2_NV_FLAG_NONE


cdef bytes submit_reply(Session down, int32_t stream_id, Flag flag, bytes why, bint is_grpc, bint is_head):
    """Trailers-only to gRPC, a status and one line of text to anything else. Returns the body, to be queued."""
    cdef Reply *reply = reply_for(flag)
    cdef nghttp2_nv *nv = nv_scratch(5)
    cdef nghttp2_data_provider provider = data_provider()
    cdef char[12] status
    cdef char[12] number
    cdef bytes message = percent_encode(why)
    cdef bytes body = b"" if is_grpc else message + b"\n"
    set_nv(&nv[0], b":status", status, snprintf(status, 12, b"%d", <int> (200 if is_grpc else reply.http_status)))
    if is_grpc:
        set_nv(&nv[1], b"content-type", b"application/grpc", 16)
        set_nv(&nv[2], b"grpc-status", number, snprintf(number, 12, b"%d", reply.grpc_status))
        set_nv(&nv[3], b"grpc-message", message, len(message))
    else:
        set_nv(&nv[1], b"content-type", b"text/plain; charset=utf-8", 25)
        set_nv(&nv[2], b"content-length", number, snprintf(number, 12, b"%d", <int> len(body)))
        set_nv(&nv[3], b"cache-control", b"no-store", 8)
    set_nv(&nv[4], b"x-mesh-error", reply.name, strlen(reply.name))
    if is_head:
        body = b""
    nghttp2_submit_response(down.ng, stream_id, nv, 5, &provider if body else NULL)
    down.touch()
    return body


cdef int submit_own_trailers(Session down, int32_t stream_id, Flag flag, bytes why, int grpc_status) except -1:
    cdef Reply *reply = reply_for(flag)
    cdef nghttp2_nv *nv = nv_scratch(3)
    cdef char[12] number
    cdef bytes message = percent_encode(why)
    set_nv(&nv[0], b"grpc-status", number, snprintf(number, 12, b"%d", grpc_status))
    set_nv(&nv[1], b"grpc-message", message, len(message))
    set_nv(&nv[2], b"x-mesh-error", reply.name, strlen(reply.name))
    nghttp2_submit_trailer(down.ng, stream_id, nv, 3)
    return 0
