from proxy.dataplane.cluster cimport Cluster
from proxy.dataplane.nghttp2 cimport nghttp2_vec
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.stats cimport CallStats, Labels


cdef class Origin:
    """Where a connection came in, and where it was going when the kernel redirected it ("": it was not)."""
    cdef readonly str listener, destination
    cdef bytes key


cdef class Route:
    """Where calls of one authority and path go."""
    cdef tuple clusters         # Clusters; none: no route
    cdef tuple totals           # running sums of their weights
    cdef double timeout_s       # -1: none
    cdef readonly Labels labels
    cdef bint found

    cdef Cluster choose(self, DataPlane plane)


cdef class Router:
    cdef readonly DataPlane plane
    cdef dict cache             # origin, protocol, authority and path -> Route
    cdef dict labels            # (authority, method) -> Labels
    cdef set authorities, methods
    cdef object resolve
    cdef dict stats             # protocol -> Labels -> CallStats of calls that matched no route

    cdef Route find(self, Origin origin, char protocol, nghttp2_vec authority, nghttp2_vec path)
    cdef CallStats stats_of(self, Labels labels, str protocol)


cdef str text_of(nghttp2_vec v)
