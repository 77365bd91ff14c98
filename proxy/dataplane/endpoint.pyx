"""One pod of a cluster: its connections, its moving average, its counters.

HTTP/2 connections are made ahead of calls: whoever dials (proxy/net/dialer.py) is told through the plane that one is
wanted, and asks `missing`. HTTP/1.x and TCP connections are made for a call; such an endpoint counts as ready until a
connection to it fails, and then again when the dialer has got through to it. Does not choose anything: that is the
cluster's balancer.
"""

from libc.math cimport exp

from proxy.dataplane.connection cimport Connection
from proxy.dataplane.session cimport Session
from proxy.dataplane.stats cimport CallStats, Labels, stats_for


cdef class Pool:
    cdef bint has_waiters(self) noexcept:
        return False

    cdef void endpoint_sampled(self, Endpoint endpoint) noexcept:
        """Its average rests on a first sample now."""

    cdef void endpoint_ready(self, Endpoint endpoint) noexcept:
        """It takes calls now."""

    cdef void endpoint_room(self, Endpoint endpoint) noexcept:
        """A ready endpoint that was at its limit can take one more call."""

    cdef void endpoint_unready(self, Endpoint endpoint) noexcept:
        """It takes no more calls."""

    cdef void endpoint_unreachable(self, Endpoint endpoint) noexcept:
        """Dialling it ahead of calls failed."""


cdef class Endpoint:
    def __init__(self, Pool cluster, str host, int port, int weight=1, str pod="", str uid=""):
        self.cluster = cluster
        self.host = host
        self.port = port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.weight = weight
        self.pod = pod
        self.uid = uid
        self.sessions = []
        self.idle = []
        self.running = set()
        self.ready = cluster.lazy
        self.target = 1
        self.cost = cluster.initial_s
        self.cost_at = cluster.plane.now
        self.stats = {}

    @property
    def state(self):
        if self.removed:
            return "draining"
        if self.ready:
            return "ready"
        return "backoff" if self.last_error is not None else "connecting"

    @property
    def ewma_s(self):
        """The moving average of response times in seconds, as of now."""
        return self.cost_now(self.cluster.plane.now_s())

    @property
    def missing(self):
        """Connections still to be dialled, other than for a call."""
        if self.removed:
            return 0
        if self.cluster.lazy:
            return 0 if self.ready else max(1 - self.connecting, 0)
        return max(self.target - len(self.sessions) - self.connecting, 0)

    # ---- peak EWMA (design: Peak EWMA, precisely) ----

    cdef double cost_now(self, double now) noexcept:
        """The average decays while nothing is measured, so that a pod that was slow is tried again."""
        return self.cost * exp((self.cost_at - now) / self.cluster.decay_s) if now > self.cost_at else self.cost

    cdef void observe(self, double sample, double now) noexcept:
        """A sample above the average replaces it at once; one below pulls it down by the time that has passed.

        The first sample replaces the guess that the average began with, which at a decay of 10 s would make all
        endpoints look alike for as long; endpoints without a sample then guess anew (`Cluster.endpoint_sampled`).
        """
        cdef double kept
        if not self.sampled:
            self.cost = sample
            self.cost_at = now
            self.sampled = True
            self.cluster.endpoint_sampled(self)
        elif sample > self.cost_now(now):
            self.cost = sample
        else:
            kept = exp((self.cost_at - now) / self.cluster.decay_s) if now > self.cost_at else 1.0
            self.cost = self.cost * kept + sample * (1.0 - kept)
        self.cost_at = now

    def set_cost(self, double seconds):
        """Start the average somewhere: a new endpoint begins at its peers' median."""
        self.cost = seconds
        self.cost_at = self.cluster.plane.now
        self.sampled = False

    def set_weight(self, int weight):
        self.weight = weight

    # ---- connections ----

    cdef bint has_room(self):
        """Whether it can take one more call now."""
        return self.ready if self.cluster.lazy else self.session_with_room() is not None

    cdef Session session_with_room(self):
        """The first connection that can carry one more call: later ones are only filled when it is full."""
        cdef Session session
        for session in self.sessions:
            if len(session.calls) < session.capacity:
                return session
        return None

    cdef void want_more(self) noexcept:
        """All HTTP/2 connections are full: dial another, one at a time."""
        if not self.cluster.lazy and not self.removed and self.target <= len(self.sessions) \
                and self.target < self.cluster.max_connections:
            self.target += 1
            self.cluster.plane.want_dial(self)

    cdef void session_ready(self, Session session) noexcept:
        self.connections += 1
        self.last_error = None
        if self.removed:
            session.evict()
            return
        self.sessions.append(session)
        if not self.ready:
            self.ready = True
            self.cluster.endpoint_ready(self)
        else:
            self.cluster.endpoint_room(self)

    cdef void session_retired(self, Session session) noexcept:
        """It takes no new calls (GOAWAY, stream ids used up); a replacement is dialled at once."""
        if session in self.sessions:
            self.sessions.remove(session)
            self.running.add(session)
            if not self.sessions:
                self.not_ready()
            if not self.removed:
                # Extra connections are for a load that may be over: only the first is always replaced.
                self.target = max(1, len(self.sessions))
                self.cluster.plane.want_dial(self)

    cdef void session_closed(self, Session session) noexcept:
        self.connections -= 1
        self.session_retired(session)
        self.running.discard(session)

    # ---- HTTP/1.x and TCP connections ----

    cdef void opened(self, Connection connection) noexcept:
        """A connection stands, for a call or (by the dialer, which found the way open again) for none."""
        self.connections += 1
        self.running.add(connection)
        self.last_error = None

    cdef void reached(self) noexcept:
        """The connection that was opened has its use: the endpoint takes calls, and those that waited may share it."""
        if not self.ready and not self.removed:
            self.ready = True
            self.cluster.endpoint_ready(self)

    cdef void closed(self, Connection connection) noexcept:
        self.connections -= 1
        self.running.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    cdef Connection take_idle(self):
        """The connection used last: those beyond what the load needs grow old and are closed."""
        return <Connection> self.idle.pop() if self.idle else None

    cdef void give_idle(self, Connection connection) noexcept:
        self.idle.append(connection)

    # ---- what the dialer and the resolver say ----

    def dial_failed(self, str why):
        """A connection could not be made; the dialer tries again later."""
        self.connect_failures += 1
        self.last_error = why
        if self.cluster.lazy and self.ready and not self.cluster.only:
            self.not_ready()
            self.cluster.plane.want_dial(self)
        self.cluster.endpoint_unreachable(self)

    def not_ready(self):
        self.ready = False
        self.unready_at = self.cluster.plane.now
        self.cluster.endpoint_unready(self)

    def remove(self):
        """It is no endpoint any more: no new calls, those that run go on (the grace period bounds them)."""
        self.removed = True
        if self.cluster.lazy:
            self.ready = False
        for connection in [*self.sessions, *self.running]:
            connection.evict()

    cdef CallStats stats_of(self, Labels labels):
        return stats_for(self.stats, labels, self.cluster, self.address, self.pod)
