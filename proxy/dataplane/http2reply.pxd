from libc.stdint cimport int32_t

from proxy.dataplane.failure cimport Flag
from proxy.dataplane.session cimport Session


cdef bytes submit_reply(Session down, int32_t stream_id, Flag flag, bytes why, bint is_grpc, bint is_head)
cdef int submit_own_trailers(Session down, int32_t stream_id, Flag flag, bytes why, int grpc_status) except -1
