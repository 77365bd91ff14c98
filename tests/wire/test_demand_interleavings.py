"""In whatever order calls, answers, silence and forgetting come: each call ends once, waits no longer than it may, and
goes where it may go by what was known while it lasted (semantics: 12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.dataplane import Endpoint, Http1Downstream, Origin, Relay
from tests.wire.demand_oracle import Known
from tests.wire.demand_world import WAIT_S, DemandWorld
from tests.wire.harness import Mesh, address
from tests.wire.messages import message, request_headers
from tests.wire.peers import Client, Server, echo
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

FAILFAST_S = 3.0
IDLE_S = 600.0
AUTHORITIES = ["a:80", "b:80", "~"]  # the last one can be no name
DESTINATIONS = ["", "10.9.0.1:8080", "10.9.0.2:8080"]
NAMES = [*AUTHORITIES[:2], *DESTINATIONS[1:]]


class AllMesh(PlainMesh):
    """Endpoints that speak whatever is spoken to them."""

    def _made(self, endpoint: Endpoint, dial: Any) -> None:
        if endpoint.cluster.protocol == "http2":
            Mesh._dial(self, endpoint)
        else:
            super()._made(endpoint, dial)


@dataclass(slots=True)
class Call:
    """`may` gathers the hosts that it might have gone to at any time since it began."""

    asked: tuple[str, str]
    began_s: float
    over: Callable[[], bool]
    leave: Callable[[], None]
    held: bool
    may: set[str] = field(default_factory=set)
    place: str = ""
    may_fail: bool = False
    left: bool = False
    release: Callable[[], None] | None = None


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.mesh = AllMesh(0, serve=self._serve_plain)
        self.mesh.serve = self._serve
        self.world = DemandWorld(self.mesh)
        self.known = Known(WAIT_S)
        self.calls: list[Call] = []
        self.clients: dict[str, Client] = {}

    # ---- servers ----

    def _arrived(self, name: str, server: Any) -> Call:
        call = self.calls[int(name)]
        assert not call.place, "a call arrived twice"
        call.place = self.mesh.of_server[id(server)].host
        return call

    def _serve(self, server: Server, stream: int) -> None:
        call = self._arrived(server.streams[stream].get("x-call") or "", server)
        if call.held:
            call.release = lambda: echo(server, stream)
        else:
            echo(server, stream)

    def _serve_plain(self, socket: Socket) -> None:
        data = socket.take()
        if not data:
            return
        call = self._arrived(data.decode().rpartition("X-Call: ")[2], socket)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        if call.held:
            call.release = lambda: socket.send(answer)
        else:
            socket.send(answer)

    # ---- calls ----

    @rule(
        protocol=st.sampled_from(["http2", "http1", "tcp"]),
        authority=st.sampled_from(AUTHORITIES),
        destination=st.sampled_from(DESTINATIONS),
        held=st.booleans(),
        size=st.sampled_from([0, 10, 100_000]),
    )
    def call(self, protocol: str, authority: str, destination: str, held: bool, size: int) -> None:
        spoken = authority if protocol != "tcp" and authority in NAMES else ""
        call = Call((spoken, destination), self.mesh.loop.now_s, lambda: False, lambda: None, held)
        self.calls.append(call)
        self.known.call(call.asked, protocol, call.began_s)
        self._see()
        begin = self._http2 if protocol == "http2" else self._plain
        begin(call, protocol, authority, destination, size)
        self.mesh.run()

    def _http2(self, call: Call, _: str, authority: str, destination: str, size: int) -> None:
        client = self.clients.get(destination)
        if client is None:
            client = self.clients[destination] = self.world.client(destination)
        mark = b"x-call", b"%d" % (len(self.calls) - 1)
        fields = request_headers("p.S/M", mark)
        headers = [(k, authority.encode() if k == b":authority" else v) for k, v in fields]
        stream = client.call(headers, message(b"x" * size))
        call.over = lambda: client[stream].over
        call.leave = lambda: client.reset(stream, 8)

    def _plain(self, call: Call, protocol: str, authority: str, destination: str, _: int) -> None:
        origin = Origin("outbound", destination)
        if protocol == "http1":
            socket = self.mesh.accept(Http1Downstream(self.mesh.router, origin))
        else:
            relay = Relay(self.mesh.router, origin)
            socket = self.mesh.accept(relay.connection())
            relay.begin()
        socket.send(f"GET / HTTP/1.1\r\nHost: {authority}\r\nX-Call: {len(self.calls) - 1}\r\n\r\n".encode())
        call.over = lambda: bool(socket.received) or socket.over
        call.leave = socket.reset

    @rule(which=st.integers(0, 1000))
    def leave(self, which: int) -> None:
        if running := [call for call in self.calls if not call.left and not call.over()]:
            call = running[which % len(running)]
            call.left = True
            call.leave()
            self.mesh.run()

    @rule(which=st.integers(0, 1000))
    def release(self, which: int) -> None:
        if held := [call for call in self.calls if call.release is not None and not call.left and not call.over()]:
            call = held[which % len(held)]
            assert call.release is not None
            call.release()
            call.held = False
            self.mesh.run()
            assert call.over(), "a call that runs is not ended by what becomes known"

    # ---- what is known ----

    @rule(name=st.sampled_from(NAMES), numbers=st.frozensets(st.integers(1, 3), max_size=3))
    def told(self, name: str, numbers: frozenset[int]) -> None:
        addresses = [10 * NAMES.index(name) + number for number in sorted(numbers)]
        self.known.told(name, {address(number).host for number in addresses})
        self._see()
        self.world.told(name, *addresses)

    @rule(name=st.sampled_from(NAMES))
    def not_mine(self, name: str) -> None:
        self.known.told(name, None)
        self._see()
        self.world.not_mine(name)

    @rule(seconds=st.sampled_from([0.01, 0.3, 0.7, WAIT_S, 2.0]))
    def time_passes(self, seconds: float) -> None:
        end_s = self.mesh.loop.now_s + seconds
        while self.mesh.loop.now_s < end_s - 1e-6:
            # Step by step, for a call that waits twice goes by what is known in between.
            due_s = min([since_s + WAIT_S for since_s in self.known.waiting.values()] + [end_s])
            self.known.passes(due_s)
            self._see()
            self.mesh.advance(max(due_s - self.mesh.loop.now_s, 0) + 1e-7)
            self._see()

    @precondition(lambda self: not self.known.waiting)
    @rule()
    def names_are_forgotten(self) -> None:
        before = len(self.world.directory.forgotten)
        self.mesh.advance(IDLE_S)
        self.world.demand.sweep()
        self.mesh.run()
        for name in self.world.directory.forgotten[before:]:
            self.known.forgotten(name)

    @rule()
    def the_router_is_emptied(self) -> None:
        self.world._reroute()

    # ---- what must be true ----

    def _see(self) -> None:
        for call in self.calls:
            if not call.place and not call.over():
                places = self.known.places(call.asked)
                call.may |= set(places or ())
                call.may_fail |= places is not None and not places

    @invariant()
    def calls_go_where_they_may(self) -> None:
        for call in self.calls:
            assert not call.place or call.place in call.may, f"{call.asked} went to {call.place}, not {call.may}"
            assert call.place or call.left or call.may_fail or not call.over(), (
                f"{call.asked} failed, not to {call.may}"
            )
        assert self.world.demand.timeouts == self.known.timeouts

    @invariant()
    def nothing_waits_too_long(self) -> None:
        now_s = self.mesh.loop.now_s
        late = [call for call in self.calls if not (call.over() or call.left or call.place)]
        assert all(now_s - call.began_s <= WAIT_S + FAILFAST_S + 0.01 for call in late)
        assert self.world.demand.waiting == len([call for call in late if self.known.places(call.asked) is None])
        assert all(now_s - call.began_s <= WAIT_S for call in late if self.known.places(call.asked) is None)

    @invariant()
    def nothing_has_faulted(self) -> None:
        assert self.mesh.plane.faults == 0, repr(self.mesh.plane.last_fault)

    def teardown(self) -> None:
        self.time_passes(WAIT_S)
        self.time_passes(FAILFAST_S)
        for call in self.calls:
            if call.release is not None and call.held and not call.left and not call.over():
                call.release()
        self.mesh.run()
        assert all(call.over() or call.left for call in self.calls)
        self.world.demand.close()
        self.world.originals.close()
        self.mesh.ledger()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True)
