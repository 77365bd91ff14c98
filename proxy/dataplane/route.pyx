"""From a request's authority and path to a Route: one dictionary look-up.

A miss asks the Python function given (proxy/routes.py reads the configuration) once; the answer is kept in a bounded
cache that a new route table empties. Also hands out the label sets of metrics, bounded in number (semantics: 9).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcpy

from proxy.dataplane.cluster cimport Cluster
from proxy.dataplane.headers cimport PATH, HeaderBlock
from proxy.dataplane.nghttp2 cimport nghttp2_vec
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.stats cimport CallStats, Labels, stats_for

cdef enum:
    CACHED_ROUTES = 10_000
    MAX_AUTHORITIES = 1000
    MAX_METHODS = 1000


cdef class Route:
    cdef Cluster choose(self, DataPlane plane):
        """The cluster of one call: at random by weight where there are several."""
        cdef Py_ssize_t i = 0
        cdef long at
        if len(self.clusters) == 1:
            return <Cluster> self.clusters[0]
        at = <long> (plane.random() >> 1) % <long> self.totals[len(self.totals) - 1]
        while at >= <long> self.totals[i]:
            i += 1
        return <Cluster> self.clusters[i]


cdef class Router:
    """`resolve(authority, path, grpc)` returns ([(Cluster, weight), ...], timeout in seconds or None), or None."""

    def __init__(self, DataPlane plane, resolve):
        self.plane = plane
        self.cache = {}
        self.labels = {}
        self.authorities = set()
        self.methods = set()
        self.stats = {}
        self.resolve = resolve

    def replace(self, resolve):
        """A new route table: calls that begin from now on follow it."""
        self.resolve = resolve
        self.cache = {}

    def call_stats(self):
        """The counters of calls that matched no route."""
        return list(self.stats.values())

    cdef CallStats stats_of(self, Labels labels):
        return stats_for(self.stats, labels, "", "", "")

    cdef Route find(self, HeaderBlock block):
        cdef nghttp2_vec authority = block.authority()
        cdef nghttp2_vec path = block.value_of(PATH)
        cdef const void *query
        cdef char *p
        cdef bytes key
        cdef Route route
        if path.len:
            query = memchr(path.base, b'?', path.len)
            if query != NULL:
                path.len = <const char *> query - <const char *> path.base
        # The path begins at the first slash, and an authority has none: the key cannot be read in two ways.
        key = PyBytes_FromStringAndSize(NULL, authority.len + path.len + 1)
        p = PyBytes_AS_STRING(key)
        p[0] = b'g' if block.is_grpc else b'h'
        if authority.len:
            memcpy(p + 1, authority.base, authority.len)
        memcpy(p + 1 + authority.len, path.base, path.len)
        route = <Route> self.cache.get(key)
        if route is None:
            route = self.make(authority.base[:authority.len].decode("latin-1") if authority.len else "",
                              path.base[:path.len].decode("latin-1") if path.len else "", block.is_grpc)
            if len(self.cache) >= CACHED_ROUTES:
                self.cache.clear()
            self.cache[key] = route
        return route

    def make(self, str authority, str path, bint grpc):
        cdef Route route = Route.__new__(Route)
        answer = self.resolve(authority, path, grpc)
        route.labels = self.labels_for(authority, path[1:] if grpc else "")
        route.timeout_s = -1
        route.clusters = ()
        if answer is not None:
            weighted, timeout_s = answer
            total = 0
            totals = []
            for _, weight in weighted:
                total += weight
                totals.append(total)
            route.clusters = tuple(cluster for cluster, _ in weighted)
            route.totals = tuple(totals)
            route.timeout_s = -1 if timeout_s is None else timeout_s
        route.found = len(route.clusters) > 0
        return route

    def labels_for(self, str authority, str method):
        """The one Labels object of these two, each bounded in number: beyond it they are "other"."""
        if authority not in self.authorities:
            if len(self.authorities) >= MAX_AUTHORITIES:
                authority = "other"
            self.authorities.add(authority)
        if method not in self.methods:
            if len(self.methods) >= MAX_METHODS:
                method = "other"
            self.methods.add(method)
        return self.labels.setdefault((authority, method), Labels(authority, method))
