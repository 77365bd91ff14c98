# Memory for what comes and goes with every call: libnghttp2's streams and frames, header blocks, byte queues.

from proxy.dataplane.nghttp2 cimport nghttp2_mem


cdef void *pool_malloc(size_t n) noexcept nogil
cdef void *pool_realloc(void *block, size_t n) noexcept nogil
cdef void pool_free(void *block) noexcept nogil
cdef nghttp2_mem *pool_for_nghttp2() noexcept nogil
