from proxy.dataplane.endpoint cimport Endpoint, Pool
from proxy.dataplane.failure cimport Flag
from proxy.dataplane.plane cimport Timed
from proxy.dataplane.session cimport Session, Stream
from proxy.dataplane.stats cimport CallStats, Labels


cdef enum Kind:
    PEAK_EWMA
    LEAST_REQUEST
    ROUND_ROBIN
    RANDOM


cdef class Waiter(Stream):
    """A call that may wait for an endpoint."""
    cdef bint waiting
    cdef bint admitted                      # it has waited: it keeps its place, wherever it has to wait again
    cdef int wake(self) except -1
    cdef int give_up(self, Flag flag, str why) except -1


cdef class Cluster(Pool):
    cdef readonly str key                   # in DataPlane.clusters: a name may stand for one of each protocol
    cdef readonly bint listed               # in DataPlane.clusters, where its counters are read
    cdef readonly bint inbound              # its endpoint is the application in this pod
    cdef readonly str balancer
    cdef readonly double failfast_s, connect_timeout_s
    cdef readonly int max_pending
    cdef readonly bint failfast             # none has been ready for long: refuse at once
    cdef readonly double updated_at_s
    cdef readonly object exists             # None until the resolver has spoken; False: there is no such service
    cdef Kind kind
    cdef dict by_key                        # (host, port, uid) -> Endpoint
    cdef list leaving                       # removed, with calls still running
    cdef list ready                         # Endpoints
    cdef list totals                        # running sums of the ready endpoints' weights; None: all are equal
    cdef list turns                         # round robin's order
    cdef Py_ssize_t next_turn
    cdef object waiters                     # deque of Waiters
    cdef Timed failfast_timer
    cdef dict stats                         # calls that never got an endpoint
    cdef Cluster instead                    # it stood in for this one, whose place was not known yet

    cdef Cluster meant(self)
    cdef Session pick(self, Endpoint exclude)
    cdef Endpoint pick_endpoint(self, Endpoint exclude)
    cdef Endpoint choose(self)
    cdef Endpoint draw(self)
    cdef Endpoint best_with_room(self, Endpoint exclude)
    cdef double load(self, Endpoint endpoint) noexcept
    cdef int park(self, Waiter waiter) except -1
    cdef void expect_endpoint(self) noexcept
    cdef void unpark(self, Waiter waiter) noexcept
    cdef void rebuild(self) except *
    cdef CallStats stats_of(self, Labels labels)
    cdef int failfast_due(self) except -1
