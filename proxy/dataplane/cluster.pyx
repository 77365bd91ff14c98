"""A cluster: its endpoints as the resolver names them, the balancer that picks one, and the calls that wait.

Tables the balancer reads are rebuilt when endpoints come, go or change readiness, never per call. Knows nothing of
HTTP: a waiting call is a `Waiter` that is woken or given up.

Balancers: power of two choices (Mitzenmacher 2001) over peak-EWMA load or calls in flight; smooth weighted round robin;
weighted random. Endpoints of unequal weight are drawn in proportion to it.
"""

from collections import deque

from libc.stdint cimport uint64_t

from proxy.dataplane.endpoint cimport Endpoint, Pool
from proxy.dataplane.failure cimport CONNECT_FAILED, NO_ENDPOINT, OVERLOADED, Flag
from proxy.dataplane.plane cimport DataPlane, Timed
from proxy.dataplane.session cimport Session, Stream
from proxy.dataplane.stats cimport CallStats, Labels, stats_for

cdef double RESTART_S = 0.5

BALANCERS = {
    "peak_ewma": PEAK_EWMA, "least_request": LEAST_REQUEST, "round_robin": ROUND_ROBIN, "random": RANDOM,
}


cdef class Waiter(Stream):
    cdef int wake(self) except -1:
        """An endpoint may have room: try again (the call may be parked once more)."""
        return 0

    cdef int give_up(self, Flag flag, str why) except -1:
        return 0


cdef class FailfastTimer(Timed):
    cdef Cluster cluster

    cdef void fire(self, double now) noexcept:
        try:
            self.cluster.failfast_due()
        except BaseException as error:
            self.cluster.plane.fault(error)


cdef class Cluster(Pool):
    def __init__(self, DataPlane plane, str name, *, protocol="http2", only=False, inbound=False, key="", listed=True,
                 balancer="peak_ewma", failfast_s=3.0, max_pending=100,
                 max_connections_per_endpoint=10, connect_timeout_s=1.0, decay_s=10.0, initial_s=0.03,
                 failure_penalty_s=5.0):
        cdef FailfastTimer timer = FailfastTimer()
        timer.cluster = self
        self.plane = plane
        self.name = name
        self.protocol = protocol
        self.lazy = protocol != "http2"
        self.only = only
        self.inbound = inbound
        self.key = key or (name if protocol == "http2" else f"{name} {protocol}")
        self.by_key = {}
        self.leaving = []
        self.waiters = deque()
        self.failfast_timer = timer
        self.stats = {}
        self.updated_at_s = float("nan")
        self.ready = []
        self.configure(balancer=balancer, failfast_s=failfast_s, max_pending=max_pending,
                       max_connections_per_endpoint=max_connections_per_endpoint, connect_timeout_s=connect_timeout_s,
                       decay_s=decay_s, initial_s=initial_s, failure_penalty_s=failure_penalty_s)
        self.listed = listed
        while self.listed and self.key in plane.clusters:
            self.key += "+"         # a name of the configuration that is also called
        if self.listed:
            plane.clusters[self.key] = self

    def configure(self, *, balancer, failfast_s, max_pending, max_connections_per_endpoint, connect_timeout_s,
                  decay_s, initial_s, failure_penalty_s):
        """Change settings in place: endpoints, connections and averages stay."""
        self.kind = BALANCERS[balancer]
        self.balancer = balancer
        self.failfast_s = failfast_s
        self.max_pending = max_pending
        self.max_connections = max_connections_per_endpoint
        self.connect_timeout_s = connect_timeout_s
        self.decay_s = decay_s
        self.initial_s = initial_s
        self.penalty_s = failure_penalty_s
        self.rebuild()

    # ---- what the resolver says (each takes objects with host, port, weight, pod, uid) ----

    def reset(self, addresses):
        """These are all the endpoints. Those that stay keep their connections and averages."""
        wanted = {(a.host, a.port, a.uid): a for a in addresses}
        self._remove([key for key in self.by_key if key not in wanted])
        self.add(addresses)

    def add(self, addresses):
        """These are endpoints too; one that is known has its weight brought up to date."""
        self.exists = True
        for address in addresses:
            key = (address.host, address.port, address.uid)
            endpoint = self.by_key.get(key)
            if endpoint is not None:
                endpoint.set_weight(address.weight)
                continue
            endpoint = Endpoint(self, address.host, address.port, address.weight, address.pod, address.uid)
            peers = [other.ewma_s for other in self.by_key.values() if other.ready]
            if peers:
                endpoint.set_cost(median(peers))
            self.by_key[key] = endpoint
            if not self.lazy:
                self.plane.want_dial(endpoint)
        self.rebuild()
        if self.lazy and self.ready:
            self.endpoint_ready(<Endpoint> self.ready[0])      # calls may be waiting for the first one
        self.updated_at_s = self.plane.now_s()

    def remove(self, addresses):
        self._remove([(a.host, a.port, a.uid) for a in addresses])
        self.updated_at_s = self.plane.now_s()

    def does_not_exist(self):
        """The resolver knows that there is no such service."""
        self._remove(list(self.by_key))
        self.exists = False
        self.updated_at_s = self.plane.now_s()

    def _remove(self, keys):
        self.leaving = [endpoint for endpoint in self.leaving if endpoint.connections]
        for key in keys:
            endpoint = self.by_key.pop(key, None)
            if endpoint is not None:
                self.leaving.append(endpoint)
                endpoint.remove()
        if keys and self.lazy:
            self.rebuild()

    def lead_to(self, Cluster other):
        """It is known now where these calls lead: those that wait, and any that still come, go on to `other`."""
        cdef Waiter waiter
        self.instead = other
        self.plane.cancel(self.failfast_timer)
        while self.waiters:
            waiter = self.waiters.popleft()
            waiter.waiting = False
            waiter.wake()

    cdef Cluster meant(self):
        """Itself, or the one that it stood in for."""
        cdef Cluster cluster = self
        while cluster.instead is not None:
            cluster = cluster.instead
        return cluster

    def close(self):
        """The cluster is configured away: no new calls; those that wait are given up."""
        if self.listed:
            self.listed = False
            del self.plane.clusters[self.key]
        self.does_not_exist()
        self.failfast_due()
        self.plane.cancel(self.failfast_timer)

    # ---- what is shown ----

    @property
    def endpoints(self):
        """Those the resolver names, then those that are leaving."""
        return [*self.by_key.values(), *(e for e in self.leaving if e.connections)]

    @property
    def pending(self):
        return len(self.waiters)

    def call_stats(self):
        found = list(self.stats.values())
        for endpoint in self.endpoints:
            found.extend(endpoint.stats.values())
        return found

    cdef CallStats stats_of(self, Labels labels):
        """For calls that never got an endpoint."""
        return stats_for(self.stats, labels, self, "", "")

    # ---- readiness ----

    cdef void endpoint_sampled(self, Endpoint endpoint) noexcept:
        """Those without a sample guess the median of those with one: a wrong guess would flood or starve them."""
        cdef Endpoint peer
        try:
            known = [peer.cost_now(self.plane.now) for peer in self.by_key.values() if peer.sampled]
            for peer in self.by_key.values():
                if known and not peer.sampled:
                    peer.set_cost(median(known))
        except BaseException as error:
            self.plane.fault(error)

    cdef void endpoint_ready(self, Endpoint endpoint) noexcept:
        self.failfast = False
        self.plane.cancel(self.failfast_timer)
        try:
            # Away for longer than a reconnection takes, it is another process: what was held against the old one goes.
            if self.ready and self.plane.now - endpoint.unready_at > RESTART_S:
                endpoint.set_cost(min(endpoint.ewma_s, median([peer.ewma_s for peer in self.ready])))
            self.rebuild()
        except BaseException as error:
            self.plane.fault(error)
        self.endpoint_room(endpoint)

    cdef void endpoint_room(self, Endpoint endpoint) noexcept:
        cdef Waiter waiter
        try:
            while self.waiters and endpoint.has_room():
                waiter = self.waiters.popleft()
                waiter.waiting = False
                waiter.wake()
            if self.waiters:
                endpoint.want_more()
        except BaseException as error:
            self.plane.fault(error)

    cdef void endpoint_unready(self, Endpoint endpoint) noexcept:
        try:
            self.rebuild()
            if self.waiters:
                self.expect_endpoint()
        except BaseException as error:
            self.plane.fault(error)

    cdef void endpoint_unreachable(self, Endpoint endpoint) noexcept:
        if self.only and not self.ready:
            self.plane.turn(self.fail_fast)

    def fail_fast(self):
        """The only endpoint cannot be connected to: to wait for it would tell callers later what they would have been
        told at once without us. Calls are refused until the dialer gets through to it."""
        self.failfast_due()

    cdef void expect_endpoint(self) noexcept:
        """Calls wait: give them up when no endpoint is ready within the failfast time."""
        if not self.ready and self.failfast_timer.slot < 0:
            self.plane.at(self.failfast_timer, self.plane.now + self.failfast_s)

    cdef void rebuild(self) except *:
        """The balancer's tables, from the endpoints that are ready."""
        cdef Endpoint endpoint
        self.ready = [endpoint for endpoint in self.by_key.values() if endpoint.ready]
        weights = [endpoint.weight for endpoint in self.ready]
        self.totals = None
        self.turns = self.ready
        if weights and min(weights) != max(weights):
            total = 0
            self.totals = []
            for weight in weights:
                total += weight
                self.totals.append(total)
            if self.kind == ROUND_ROBIN:
                self.turns = smooth_turns(self.ready, weights)

    # ---- picking ----

    cdef Session pick(self, Endpoint exclude):
        """A connection for one call, not to `exclude` if another will do. None: there is none with room now."""
        cdef Endpoint endpoint
        cdef Session session
        if not self.ready:
            return None
        endpoint = self.choose()
        if endpoint is not exclude:
            session = endpoint.session_with_room()
            if session is not None:
                return session
            endpoint.want_more()
        endpoint = self.best_with_room(exclude)
        return None if endpoint is None else endpoint.session_with_room()

    cdef Endpoint pick_endpoint(self, Endpoint exclude):
        """An endpoint for one call that finds or makes a connection of its own; None: none is ready."""
        cdef Endpoint endpoint
        if not self.ready:
            return None
        endpoint = self.choose()
        return endpoint if endpoint is not exclude else self.best_with_room(exclude)

    cdef Endpoint choose(self):
        cdef Py_ssize_t n = len(self.ready), i, j
        cdef uint64_t r
        cdef Endpoint a, b
        if n == 1:
            return <Endpoint> self.ready[0]
        if self.kind == ROUND_ROBIN:
            self.next_turn = (self.next_turn + 1) % len(self.turns)
            return <Endpoint> self.turns[self.next_turn]
        if self.kind == RANDOM:
            return self.draw()
        if self.totals is None:
            r = self.plane.random()
            i = <Py_ssize_t> ((r >> 32) % <uint64_t> n)
            j = <Py_ssize_t> ((r & 0xFFFFFFFF) % <uint64_t> (n - 1))
            if j >= i:
                j += 1
            a = <Endpoint> self.ready[i]
            b = <Endpoint> self.ready[j]
        else:
            a = self.draw()
            b = self.draw()
        return a if self.load(a) <= self.load(b) else b

    cdef Endpoint draw(self):
        """A ready endpoint at random, in proportion to its weight."""
        cdef uint64_t r = self.plane.random() >> 1
        cdef Py_ssize_t low = 0, high = len(self.ready) - 1, middle
        cdef long at
        if self.totals is None:
            return <Endpoint> self.ready[r % <uint64_t> (high + 1)]
        at = <long> (r % <uint64_t> (<long> self.totals[high]))
        while low < high:
            middle = (low + high) // 2
            if at < <long> self.totals[middle]:
                high = middle
            else:
                low = middle + 1
        return <Endpoint> self.ready[low]

    cdef double load(self, Endpoint endpoint) noexcept:
        if self.kind == LEAST_REQUEST:
            return endpoint.in_flight
        # The floor keeps calls in flight in the product when the average has decayed to nothing.
        return max(endpoint.cost_now(self.plane.now), 1e-6) * (endpoint.in_flight + 1)

    cdef Endpoint best_with_room(self, Endpoint exclude):
        """The rare way: the first choice is full or not wanted. `exclude` itself when it is the only one."""
        cdef Endpoint endpoint, best = None
        for endpoint in self.ready:
            if not endpoint.has_room():
                endpoint.want_more()
            elif endpoint is not exclude and (best is None or self.load(endpoint) < self.load(best)):
                best = endpoint
        if best is None and exclude is not None and exclude in self.ready and exclude.has_room():
            return exclude
        return best

    # ---- waiting ----

    cdef bint has_waiters(self) noexcept:
        return len(self.waiters) > 0

    cdef int park(self, Waiter waiter) except -1:
        """No endpoint now: the call waits, or is given up at once when waiting is known to be in vain."""
        if not self.ready and self.failfast:
            flag, why = self.absence()
            waiter.give_up(flag, why)
        elif len(self.waiters) >= self.max_pending and not waiter.admitted:
            waiter.give_up(OVERLOADED, f"{self.max_pending} calls already wait for cluster {self.name}")
        else:
            waiter.waiting = waiter.admitted = True
            self.waiters.append(waiter)
            self.expect_endpoint()
        return 0

    cdef void unpark(self, Waiter waiter) noexcept:
        if waiter.waiting:
            waiter.waiting = False
            try:
                self.waiters.remove(waiter)
            except ValueError:
                pass

    cdef int failfast_due(self) except -1:
        cdef Waiter waiter
        if self.ready:
            return 0
        self.failfast = True
        flag, why = self.absence()
        while self.waiters:
            waiter = self.waiters.popleft()
            waiter.waiting = False
            waiter.give_up(flag, why)
        return 0

    def absence(self):
        """Why there is no ready endpoint: (flag, a sentence for the caller)."""
        known = list(self.by_key.values())
        if not known:
            what = "no such service" if self.exists is False else "it has no endpoints"
            return NO_ENDPOINT, f"no endpoint of cluster {self.name} is ready: {what}"
        errors = [e.last_error for e in known if e.last_error is not None]
        flag = CONNECT_FAILED if len(errors) == len(known) else NO_ENDPOINT
        last = f", last error: {errors[len(errors) - 1]}" if errors else ""
        return flag, f"none of {len(known)} endpoints of cluster {self.name} is ready{last}"


def smooth_turns(endpoints, weights):
    """Smooth weighted round robin, as nginx describes it, written out as one cycle of at most 4096 turns."""
    total = sum(weights)
    if total > 4096:
        weights = [max(1, weight * 4096 // total) for weight in weights]
        total = sum(weights)
    current = [0] * len(endpoints)
    turns = []
    for _ in range(total):
        for i, weight in enumerate(weights):
            current[i] += weight
        best = max(range(len(endpoints)), key=current.__getitem__)
        current[best] -= total
        turns.append(endpoints[best])
    return turns


cdef double median(list values) except? -1:
    """Of at least one. (`statistics` would cost each sidecar a megabyte.)"""
    cdef list ordered = sorted(values)
    cdef Py_ssize_t middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (<double> ordered[middle - 1] + <double> ordered[middle]) / 2
