from libc.stdint cimport uint64_t

from proxy.dataplane.connection cimport Connection
from proxy.dataplane.plane cimport DataPlane
from proxy.dataplane.session cimport Session
from proxy.dataplane.stats cimport CallStats, Labels


cdef class Pool:
    """What an endpoint needs to know of its cluster."""
    cdef readonly DataPlane plane
    cdef readonly str name
    cdef readonly str protocol          # "http2", "http1" or "tcp"
    cdef bint lazy                      # connections are made when a call needs one: not HTTP/2
    cdef readonly bint only             # its one endpoint is where callers were going: tried for each, as without us
    cdef double decay_s, initial_s, penalty_s
    cdef readonly int max_connections
    cdef bint has_waiters(self) noexcept
    cdef void endpoint_sampled(self, Endpoint endpoint) noexcept
    cdef void endpoint_ready(self, Endpoint endpoint) noexcept
    cdef void endpoint_room(self, Endpoint endpoint) noexcept
    cdef void endpoint_unready(self, Endpoint endpoint) noexcept
    cdef void endpoint_unreachable(self, Endpoint endpoint) noexcept


cdef class Endpoint:
    cdef object __weakref__
    cdef readonly Pool cluster
    cdef readonly str host, address, pod, uid
    cdef readonly int port, weight
    cdef readonly bint ready            # takes new calls: stands in the balancer's tables
    cdef readonly list sessions         # HTTP/2 connections that take new calls
    cdef list idle                      # HTTP/1.x connections that wait for a request, the last used last
    cdef set running                    # all other connections: HTTP/1.x, TCP, HTTP/2 that finish their last calls
    cdef readonly int connections       # established, those that take no new calls among them
    cdef readonly int target            # connections wanted
    cdef public int connecting          # dials under way
    cdef readonly long in_flight, calls, failures, connect_failures
    cdef readonly str last_error        # of the last failed dial; None once connected
    cdef readonly bint removed
    cdef double unready_at              # when its last connection went
    cdef bint sampled                   # the average rests on a sample, not on a guess
    cdef double cost, cost_at           # the moving average (seconds) and when it was last brought up to date
    cdef readonly dict stats            # Labels -> CallStats

    cdef double cost_now(self, double now) noexcept
    cdef void observe(self, double sample, double now) noexcept
    cdef bint has_room(self)
    cdef Session session_with_room(self)
    cdef void want_more(self) noexcept
    cdef void session_ready(self, Session session) noexcept
    cdef void session_retired(self, Session session) noexcept
    cdef void session_closed(self, Session session) noexcept
    cdef void opened(self, Connection connection) noexcept
    cdef void reached(self) noexcept
    cdef void closed(self, Connection connection) noexcept
    cdef Connection take_idle(self)
    cdef void give_idle(self, Connection connection) noexcept
    cdef CallStats stats_of(self, Labels labels)
