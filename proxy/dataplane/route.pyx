"""From a request's origin, protocol, authority and path to a Route: one dictionary look-up.

A miss asks the Python function given (proxy/routes.py reads the configuration) once; the answer is kept in a bounded
cache that a new route table empties. Also hands out the label sets of metrics, bounded in number (semantics: 9).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcpy

from proxy.dataplane.cluster cimport Cluster
from proxy.dataplane.nghttp2 cimport nghttp2_vec
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.stats cimport CallStats, Labels, stats_for

cdef enum:
    CACHED_ROUTES = 10_000
    MAX_AUTHORITIES = 1000
    MAX_METHODS = 1000
    MAX_LABELS = 10_000     # pairs of them: counters are per pair and endpoint


PROTOCOLS = {b"g"[0]: "grpc", b"2"[0]: "http2", b"1"[0]: "http1", b"t"[0]: "tcp"}


cdef class Origin:
    def __init__(self, str listener, str destination=""):
        self.listener = listener
        self.destination = destination
        self.key = f"{listener} {destination} ".encode()


class NoCluster:
    """Stands for the cluster where there is no route to one."""

    name = ""

    def __init__(self, protocol):
        self.protocol = protocol


cdef class Route:
    cdef Cluster choose(self, DataPlane plane):
        """The cluster of one call: at random by weight where there are several."""
        cdef Py_ssize_t i = 0
        cdef long at
        if len(self.clusters) == 1:
            return (<Cluster> self.clusters[0]).meant()
        at = <long> (plane.random() >> 1) % <long> self.totals[len(self.totals) - 1]
        while at >= <long> self.totals[i]:
            i += 1
        return (<Cluster> self.clusters[i]).meant()


cdef class Router:
    """`resolve(listener, destination, authority, path, protocol)` returns ([(Cluster, weight), ...], timeout in seconds
    or None), or None where there is no route. `protocol` is "grpc" (over HTTP/2), "http2", "http1" or "tcp", which has
    no path, and its TLS server name for an authority.
    """

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
        return [stats for table in self.stats.values() for stats in table.values()]

    cdef CallStats stats_of(self, Labels labels, str protocol):
        cdef dict table = self.stats.setdefault(protocol, {})
        return stats_for(table, labels, NoCluster(protocol), "", "")

    cdef Route find(self, Origin origin, char protocol, nghttp2_vec authority, nghttp2_vec path):
        cdef const void *query
        cdef size_t n = len(origin.key)
        cdef char *p
        cdef bytes key
        cdef Route route
        if path.len:
            query = memchr(path.base, b'?', path.len)
            if query != NULL:
                path.len = <const char *> query - <const char *> path.base
        # A path begins at the first slash, and an authority has none, nor a blank: a key cannot be read in two ways.
        key = PyBytes_FromStringAndSize(NULL, n + 1 + authority.len + path.len)
        p = PyBytes_AS_STRING(key)
        memcpy(p, PyBytes_AS_STRING(origin.key), n)
        p[n] = protocol
        if authority.len:
            memcpy(p + n + 1, authority.base, authority.len)
        if path.len:
            memcpy(p + n + 1 + authority.len, path.base, path.len)
        route = <Route> self.cache.get(key)
        if route is None:
            route = self.make(origin, PROTOCOLS[protocol], text_of(authority), text_of(path))
            if len(self.cache) >= CACHED_ROUTES:
                self.cache.clear()
            self.cache[key] = route
        return route

    def make(self, Origin origin, str protocol, str authority, str path):
        cdef Route route = Route.__new__(Route)
        answer = self.resolve(origin.listener, origin.destination, authority, path, protocol)
        route.labels = self.labels_for(authority, path[1:] if protocol == "grpc" else "")
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
        """The one Labels object of these two; each, and their pairs, bounded in number: beyond it they are "other"."""
        cdef Labels labels
        if authority not in self.authorities:
            if len(self.authorities) >= MAX_AUTHORITIES:
                authority = "other"
            self.authorities.add(authority)
        if method not in self.methods:
            if len(self.methods) >= MAX_METHODS:
                method = "other"
            self.methods.add(method)
        labels = <Labels> self.labels.get((authority, method))
        if labels is None:
            if len(self.labels) >= MAX_LABELS:
                authority = method = "other"
            labels = self.labels.setdefault((authority, method), Labels(authority, method))
        return labels


cdef str text_of(nghttp2_vec v):
    return v.base[:v.len].decode("latin-1") if v.len else ""
