"""What all sessions of one proxy share: the clock, timers, the output buffer and the end-of-turn flush.

A *turn* is one entry from the event loop: bytes read, a timer, a connection made or lost. `enter` reads the clock
once, callbacks then only *mark* the sessions that have something to write, and `leave` flushes each of them once.
Nothing that runs in a turn calls back into the event loop, so nothing re-enters.

Knows nothing of HTTP/2, calls or clusters. Time and randomness come in as arguments, so tests own both.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    READ_BUFFER_BYTES = 256 * 1024
    OUT_BYTES = 96 * 1024


cdef double monotonic() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <double> t.tv_sec + <double> t.tv_nsec * 1e-9


cdef class Timed:
    def __cinit__(self):
        self.slot = -1

    cdef void fire(self, double now) noexcept:
        pass


cdef class Flushable(Timed):
    cdef void flush(self) noexcept:
        pass


cdef class Limits:
    """What one peer may cost (semantics: 8 and 9). Counts are per message, connection or (`max_calls`) proxy."""

    def __init__(self, max_header_fields=100, max_header_list_bytes=65536, max_concurrent_streams=1000,
                 header_timeout_s=10.0, max_calls=100_000):
        self.max_header_fields = max_header_fields
        self.max_header_list_bytes = max_header_list_bytes
        self.max_concurrent_streams = max_concurrent_streams
        self.header_timeout_s = header_timeout_s
        self.max_calls = max_calls


cdef class DataPlane:
    """One proxy's data plane. `loop` needs only `call_later`; `clock` gives seconds; `seed` makes picks repeatable."""

    def __init__(self, loop, *, limits=None, clock=None, seed=None):
        self.loop = loop
        self.limits = limits if limits is not None else Limits()
        self.clock = clock
        self.clusters = {}
        self.cuts = {}
        self.downstreams = set()
        self.upstream_pairs = set()
        self.dirty = []
        self.heap = []
        self.to_dial = []
        self.notes = []
        self.alarm = None
        self.read_buffer = bytearray(READ_BUFFER_BYTES)
        if seed is None:
            import os
            seed = int.from_bytes(os.urandom(8), "little")
        self.random_state = (seed & 0xFFFFFFFFFFFFFFFF) or 1
        self.now = self.now_s()

    def __cinit__(self, *args, **kwargs):
        self.out = <char *> malloc(OUT_BYTES)
        if self.out == NULL:
            raise MemoryError
        self.out_capacity = OUT_BYTES

    def __dealloc__(self):
        free(self.out)

    @property
    def downstream_connections(self):
        return len(self.downstreams)

    def now_s(self):
        """The plane's clock, in seconds; only differences mean something."""
        return monotonic() if self.clock is None else self.clock()

    def call_stats(self):
        """Every CallStats in use: of the endpoints, and of the calls that never got one."""
        found = []
        for cluster in self.clusters.values():
            found.extend(cluster.call_stats())
        return found

    # ---- turns ----

    cdef void enter(self) noexcept:
        self.in_turn = True
        if self.clock is None:
            self.now = monotonic()
        else:
            try:
                self.now = self.clock()
            except BaseException as error:
                self.fault(error)

    cdef void leave(self) noexcept:
        # Flushing one session may mark another (window credit, a reset); the list grows while it is walked.
        cdef Py_ssize_t i = 0
        cdef Flushable session
        while i < len(self.dirty):
            session = <Flushable> self.dirty[i]
            session.dirty = False
            session.flush()
            i += 1
        if i:
            self.dirty.clear()
        self.in_turn = False
        if self.to_dial:
            self.dial()
        if self.departed:
            self.depart()
        if self.notes:
            self.tell()

    cdef void mark(self, Flushable session) noexcept:
        if not session.dirty:
            session.dirty = True
            self.dirty.append(session)

    def turn(self, function, *arguments):
        """Run a Python function as a turn of its own (drain, endpoint updates, a new route table)."""
        if self.in_turn:
            return function(*arguments)
        self.enter()
        try:
            return function(*arguments)
        finally:
            self.leave()

    cdef void want_dial(self, object wanted) noexcept:
        """Say after the turn that an endpoint misses a connection, or that a call needs one of its own."""
        self.to_dial.append(wanted)

    def dial(self):
        wanted, self.to_dial = self.to_dial, []
        if self.on_dial is None:
            return
        for each in wanted:
            try:
                self.on_dial(each)
            except BaseException as error:
                self.fault(error)

    cdef void gone(self, object connection) noexcept:
        """A transport is closed for good: all that it held was sent, or never will be."""
        if connection in self.downstreams:
            self.downstreams.discard(connection)
            self.departed += 1

    def depart(self):
        departed, self.departed = self.departed, 0
        for _ in range(departed if self.on_disconnect is not None else 0):
            try:
                self.on_disconnect()
            except BaseException as error:
                self.fault(error)

    cdef void note(self, str text) noexcept:
        """Say something in the log, after the turn; a flood of it is shortened."""
        if len(self.notes) < 100:
            self.notes.append(text)

    def tell(self):
        notes, self.notes = self.notes, []
        for text in notes if self.on_note is not None else ():
            try:
                self.on_note(text)
            except BaseException as error:
                self.fault(error)

    cdef void fault(self, object error) noexcept:
        """A fault of our own: counted and kept for the log, never raised into C."""
        self.faults += 1
        self.last_fault = error
        self.note("fault in the data plane: %r" % (error,))

    # ---- randomness: xorshift64*, Vigna 2016 ----

    cdef uint64_t random(self) noexcept:
        cdef uint64_t x = self.random_state
        x ^= x >> 12
        x ^= x << 25
        x ^= x >> 27
        self.random_state = x
        return x * <uint64_t> 0x2545F4914F6CDD1D

    # ---- output ----

    cdef int put(self, const char *data, size_t n) noexcept:
        if self.reserve(n) != 0:
            return -1
        memcpy(self.out + self.out_len, data, n)
        self.out_len += n
        return 0

    cdef int reserve(self, size_t n) noexcept:
        """Room for n more bytes of output; -1 when there is no memory."""
        cdef size_t capacity = self.out_capacity
        cdef char *grown
        if capacity - self.out_len >= n:
            return 0
        while capacity - self.out_len < n:
            capacity *= 2
        grown = <char *> realloc(self.out, capacity)
        if grown == NULL:
            return -1
        self.out = grown
        self.out_capacity = capacity
        return 0

    cdef char *scratch(self, size_t n) except NULL:
        """Room for n bytes, good until the next flush or call of this."""
        self.out_len = 0
        if self.reserve(n) != 0:
            raise MemoryError
        return self.out

    # ---- timers: a binary heap whose entries know their place, so that a deadline that is not reached costs
    # O(log n) and one event-loop timer serves all calls ----

    cdef void at(self, Timed timed, double when) noexcept:
        """Call `timed.fire` at `when`; a timer it had is moved."""
        if timed.slot >= 0:
            self.cancel(timed)
        timed.when = when
        timed.slot = len(self.heap)
        self.heap.append(timed)
        self.sift_up(timed.slot)
        if self.alarm is None or when < self.alarm_at - 0.0005:
            try:
                self.arm()
            except BaseException as error:
                self.fault(error)

    cdef void cancel(self, Timed timed) noexcept:
        cdef Py_ssize_t i = timed.slot
        cdef Timed last
        if i < 0:
            return
        timed.slot = -1
        last = <Timed> self.heap.pop()
        if last is not timed:
            self.heap[i] = last
            last.slot = i
            self.sift_up(i)
            self.sift_down(last.slot)

    cdef void sift_up(self, Py_ssize_t i) noexcept:
        cdef Timed item = <Timed> self.heap[i]
        cdef Timed above
        cdef Py_ssize_t parent
        while i > 0:
            parent = (i - 1) >> 1
            above = <Timed> self.heap[parent]
            if above.when <= item.when:
                break
            self.heap[i] = above
            above.slot = i
            i = parent
        self.heap[i] = item
        item.slot = i

    cdef void sift_down(self, Py_ssize_t i) noexcept:
        cdef Timed item = <Timed> self.heap[i]
        cdef Timed below
        cdef Py_ssize_t child, n = len(self.heap)
        while True:
            child = 2 * i + 1
            if child >= n:
                break
            if child + 1 < n and (<Timed> self.heap[child + 1]).when < (<Timed> self.heap[child]).when:
                child += 1
            below = <Timed> self.heap[child]
            if item.when <= below.when:
                break
            self.heap[i] = below
            below.slot = i
            i = child
        self.heap[i] = item
        item.slot = i

    cdef void arm(self):
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None
        if self.heap:
            self.alarm_at = (<Timed> self.heap[0]).when
            # A timer that fires a little early would find nothing due and be armed again at once.
            self.alarm = self.loop.call_later(max(self.alarm_at - self.now_s(), 0.0) + 0.0005, self.on_alarm)

    def on_alarm(self):
        """The event loop's timer: fires what is due, then sleeps until the next."""
        cdef Timed timed
        self.alarm = None
        self.enter()
        while self.heap:
            timed = <Timed> self.heap[0]
            if timed.when > self.now:
                break
            self.cancel(timed)
            timed.fire(self.now)
        self.leave()
        self.arm()
