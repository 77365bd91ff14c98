"""A data plane between a client and a server that are only bytes: no socket, no process, a clock of its own.

Owns the stand-ins for what the event loop does (`call_later`, transports, dialling) and nothing of HTTP/2 but the
stream ids the proxy opens upstream, so that an endpoint can answer them. Fast enough for a million frames.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.dataplane import Cluster, DataPlane, DownstreamSession, Limits, Origin, Router, UpstreamSession
from proxy.discovery import EndpointAddress
from tests.attack import frames
from tests.attack.peer import FrameReader


@dataclass(eq=False, slots=True)
class Alarm:
    when: float
    callback: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The loop and the clock of a plane: time passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._alarms: list[Alarm] = []

    def __call__(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], object], /) -> Alarm:
        alarm = Alarm(self.now_s + delay_s, callback)
        self._alarms.append(alarm)
        return alarm

    def pass_time(self, duration_s: float) -> None:
        self.now_s += duration_s
        due = [alarm for alarm in self._alarms if alarm.when <= self.now_s and not alarm.cancelled]
        self._alarms = [alarm for alarm in self._alarms if alarm.when > self.now_s and not alarm.cancelled]
        for alarm in due:
            if not alarm.cancelled:
                alarm.callback()


@dataclass(eq=False, slots=True)
class Transport:
    """Takes what a session writes; `closed` once the session wants no more."""

    written: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def write(self, sent: bytes) -> None:
        self.written += sent

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def get_extra_info(self, _name: str) -> None:
        return None

    def taken(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self.written)
        self.written.clear()
        return taken


class Wire:
    """A session with its transport: the peer's end of a connection."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.transport = Transport()
        self.alive = True
        session.connection_made(self.transport)

    def deliver(self, sent: bytes) -> None:
        """The session reads `sent`, as long as it reads at all."""
        view = memoryview(sent)
        while view and self.alive:
            buffer = memoryview(self.session.get_buffer(-1))
            part = view[: len(buffer)]
            buffer[: len(part)] = part
            self.session.buffer_updated(len(part))
            view = view[len(part) :]
            self.settle()

    def settle(self) -> None:
        """What the event loop does after a transport was closed."""
        if self.alive and self.transport.closed:
            self.lose()

    def lose(self) -> None:
        self.alive = False
        self.session.connection_lost(None)


class Bench:
    """A plane with one cluster of one endpoint, which is dialled again whenever its connection is gone."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock()
        self.plane = DataPlane(self.clock, limits=Limits(), clock=self.clock, seed=seed)
        self.plane.on_dial = lambda _endpoint: None  # `server` makes the connection when the test wants one
        self.cluster = Cluster(self.plane, "only", failfast_s=1.0)
        self.router = Router(self.plane, lambda *_: ([(self.cluster, 1)], 30.0))
        self.upstream: Wire | None = None
        self.opened: list[int] = []  # streams the proxy has opened on the present upstream connection
        self._reader = FrameReader()
        self._skipped = 0
        self.plane.turn(self.cluster.reset, (EndpointAddress("192.0.2.1", 80),))

    def client(self) -> Wire:
        return Wire(DownstreamSession(self.router, Origin("only")))

    def server(self) -> Wire:
        """The endpoint's present connection; a new one if the last is gone."""
        if self.upstream is not None:
            self.upstream.settle()
        if self.upstream is None or not self.upstream.alive:
            endpoint = self.cluster.endpoints[0]
            self.upstream = Wire(UpstreamSession(self.plane, endpoint, lambda *_: None))
            self.opened = []
            self._reader = FrameReader()
            self._skipped = len(frames.PREFACE)
            self.upstream.deliver(frames.settings())
        self._follow(self.upstream.transport.taken())
        return self.upstream

    def _follow(self, written: bytes) -> None:
        skipped = min(self._skipped, len(written))
        self._skipped -= skipped
        for kind, _, stream, _ in self._reader.feed(written[skipped:]):
            if kind == frames.HEADERS and stream not in self.opened:
                self.opened.append(stream)
