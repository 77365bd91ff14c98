"""What every call has, whatever its protocol: route, endpoint, times, verdict, and the one place where it ends.

A Call counts among its endpoint's calls in flight while an attempt runs, gives the endpoint's average one sample an
attempt, and in `finish` hands its figures to the counters and the access log. How bytes travel is for the subclasses:
http2call.pyx, http1call.pyx, relay.pyx (a TCP connection is one call).

Every call ends exactly once, in `finish`.
"""

import time

from proxy.dataplane.failure import CLASSIFICATIONS, FLAGS

from proxy.dataplane.bytequeue cimport queue_release
from proxy.dataplane.endpoint cimport Endpoint
from proxy.dataplane.failure cimport CONNECT_FAILED, FAILURE, RETRIED, Flag
from proxy.dataplane.route cimport Origin, Router
from proxy.dataplane.stats cimport CallStats
from proxy.dataplane.stats cimport observe as observe_time


cdef class Call(Waiter):
    def __dealloc__(self):
        queue_release(&self.request_body.queue)
        queue_release(&self.response_body.queue)

    cdef void start(self, Router router, Origin origin) noexcept:
        self.router = router
        self.plane = router.plane
        self.origin = origin
        self.started = self.plane.now
        self.headers_at = -1
        self.deadline = -1
        self.grpc_status = -1
        self.request_body.expected = self.response_body.expected = -1
        self.plane.calls += 1

    cdef void set_deadline(self, double timeout_s) noexcept:
        self.deadline = self.started + timeout_s
        if timeout_s > 0:
            self.plane.at(self, self.deadline)

    # ---- attempts ----

    cdef void begin_attempt(self, Endpoint endpoint) except *:
        self.endpoint = endpoint
        self.attempting = True
        self.observed = False
        self.attempt_at = self.plane.now
        self.attempts += 1
        endpoint.in_flight += 1
        endpoint.calls += 1
        self.stats = endpoint.stats_of(self.route.labels)
        self.stats.started += 1
        self.counted = True

    cdef void leave_endpoint(self) noexcept:
        if self.attempting:
            self.attempting = False
            self.endpoint.in_flight -= 1

    cdef int dial_for(self, Endpoint endpoint) except -1:
        """Have a connection to the endpoint made for this call."""
        cdef Dial dial = Dial.__new__(Dial)
        dial.endpoint = endpoint
        dial.call = self
        self.dial = dial
        self.plane.want_dial(dial)
        return 0

    cdef int connect_failed(self, str why) except -1:
        """The connection that was wanted could not be made: the call never left, so another endpoint may have it."""
        cdef Endpoint failing = self.endpoint
        self.stats.end(RETRIED, 0, -1, CONNECT_FAILED)
        self.counted = False
        self.observe(True, self.plane.now)
        self.leave_endpoint()
        if self.cluster.only:
            return self.fail(CONNECT_FAILED, f"endpoint {failing.address}: {why}".encode())
        return self.attempt(failing)

    cdef int attempt(self, Endpoint exclude) except -1:
        """Start an attempt on an endpoint the balancer picks, not on `exclude` if another will do, or wait for one."""
        raise AssertionError("each protocol has its own")

    cdef int fail(self, Flag flag, bytes why) except -1:
        """The proxy ends the call by itself (semantics: 2)."""
        raise AssertionError("each protocol has its own")

    cdef int wake(self) except -1:
        self.cluster = self.cluster.meant()
        return self.attempt(None)

    cdef int give_up(self, Flag flag, str why) except -1:
        return self.fail(flag, why.encode())

    cdef void observe(self, bint failed, double at) noexcept:
        """Give the endpoint's average this attempt's sample, the time until `at`; only the first one counts."""
        cdef double elapsed = at - self.attempt_at
        if self.endpoint is None or self.observed:
            return
        self.observed = True
        if failed:
            elapsed = max(elapsed, self.cluster.penalty_s)
        self.endpoint.observe(elapsed, self.plane.now)

    # ---- the end ----

    cdef int finish(self) except -1:
        """The one end of every call: count it, log it, let go of everything."""
        cdef CallStats stats = self.stats
        cdef double now = self.plane.now
        if self.finished:
            return 0
        self.finished = True
        self.plane.cancel(self)
        self.plane.calls -= 1
        if not self.counted:
            # It never got an endpoint (or was waiting for another one). A cluster that is gone, or only stands in for
            # one, has no counters that anybody reads.
            labels = self.router.labels_for("", "") if self.route is None else self.route.labels
            stats = self.cluster.stats_of(labels) if self.cluster is not None and self.cluster.listed else \
                self.router.stats_of(labels, self.protocol())
            stats.started += 1
        stats.end(self.classification, self.http_status, self.grpc_status, self.flag)
        observe_time(&stats.end_times, now - self.started)
        if self.headers_at >= 0:
            observe_time(&stats.headers_times, self.headers_at - self.started)
        stats.request_bytes += self.request_body.total
        stats.request_messages += self.request_body.messages
        stats.response_bytes += self.response_body.total
        stats.response_messages += self.response_body.messages
        if self.endpoint is not None and self.classification == FAILURE:
            self.endpoint.failures += 1
        if self.plane.access_log is not None:
            self.log(stats)
        queue_release(&self.request_body.queue)
        queue_release(&self.response_body.queue)
        return 0

    cdef str protocol(self):
        return "http2"

    cdef tuple describe(self):
        """For the access log: (authority, method, path)."""
        return "", "", ""

    def log(self, CallStats stats):
        """One entry of the access log: proxy/admin/access_log.py names the places."""
        cdef double lasted = self.plane.now - self.started
        # The log may have been turned on while the call ran: when it began is told from its end.
        self.plane.access_log.append((
            time.time() - lasted, self.origin.listener, self.protocol(), *self.describe(), stats.cluster,
            stats.endpoint, stats.pod, self.http_status, self.grpc_status,
            CLASSIFICATIONS[<int> self.classification], FLAGS[<int> self.flag],
            lasted, self.headers_at - self.started if self.headers_at >= 0 else float("nan"),
            self.request_body.total, self.response_body.total, self.attempts))


cdef class Dial:
    """A connection that a call needs. Whoever dials `endpoint` makes the connection with it, or says `failed`.

    The call may be over by then: its connection then waits for another, or is closed.
    """

    cdef bint is_wanted(self) noexcept:
        return self.call.dial is self

    def failed(self, str why):
        self.call.plane.turn(self._failed, why)

    def _failed(self, why):
        self.endpoint.dial_failed(why)
        if self.is_wanted():
            self.call.dial = None
            self.call.connect_failed(why)
