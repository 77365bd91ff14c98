"""A mesh that random events happen to, and what must be true of every call whatever they are.

Each call is named in its path, and every message names its call, its attempt and its place: what arrives anywhere
must be the beginning of what one sender sent, and all of it where the call ended well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.wire.harness import Mesh, address
from tests.wire.messages import OK_HEADERS, OK_TRAILERS, message, request_headers
from tests.wire.peers import Client, Record, Server

MAX_CONCURRENT_STREAMS = 3  # the number of the setting


@dataclass(slots=True, eq=False)
class Sent:
    """What one side has sent on one stream."""

    peer: Client | Server
    stream: int
    name: str
    body: bytes = b""
    headers: bool = False
    done: bool = False
    left: bool = False  # reset by the side that sent

    @property
    def record(self) -> Record:
        return self.peer.streams[self.stream]

    @property
    def dead(self) -> bool:
        return self.done or self.record.reset is not None or self.peer.closed or self.peer.leaving


@dataclass(slots=True)
class World:
    """`act` does one event; `settle` ends everything and checks it all."""

    balancer: str
    mesh: Mesh = field(init=False)
    calls: list[Sent] = field(default_factory=list)
    attempts: dict[tuple[int, int], Sent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mesh = Mesh(3, balancer=self.balancer, max_pending=5, max_connections_per_endpoint=3)
        self.mesh.client()
        self.mesh.client()

    def act(self, event: str, choice: int) -> None:
        self._see()
        getattr(self, event)(choice)

    def _see(self) -> None:
        """Note the attempts that have reached servers."""
        for server in self.mesh.servers:
            for stream, record in server.streams.items():
                if (id(server), stream) not in self.attempts:
                    name = (record.get(":path") or "").rsplit("/")[-1]
                    self.attempts[id(server), stream] = Sent(server, stream, name)

    def _call(self, choice: int) -> Sent | None:
        live = [call for call in self.calls if not call.dead and not call.record.over]
        return live[choice % len(live)] if live else None

    def _attempt(self, choice: int) -> Sent | None:
        live = [attempt for attempt in self.attempts.values() if not attempt.dead]
        return live[choice % len(live)] if live else None

    def _server(self, choice: int) -> Server | None:
        live = [s for s in self.mesh.servers if not s.closed and not s.leaving]
        return live[choice % len(live)] if live else None

    # ---- clients ----

    def begin(self, choice: int) -> None:
        clients = [client for client in self.mesh.clients if not client.closed and not client.leaving]
        client = clients[choice % len(clients)] if clients else self.mesh.client()
        name = f"c{len(self.calls)}"
        extra = [(b"grpc-timeout", b"5S")] if choice % 4 == 0 else []
        stream = client.call(request_headers(f"p.S/{name}", *extra), end=False)
        self.calls.append(Sent(client, stream, name))

    def say(self, choice: int) -> None:
        if call := self._call(choice):
            data = message(f"{call.name}:{len(call.body)}:".encode() + b"u" * (choice * 37 % 9000))
            call.body += data
            call.peer.send(call.stream, data)

    def half_close(self, choice: int) -> None:
        if call := self._call(choice):
            call.done = True
            call.peer.send(call.stream, end=True)

    def cancel(self, choice: int) -> None:
        if call := self._call(choice):
            call.done = call.left = True
            call.peer.reset(call.stream)

    def disconnect(self, choice: int) -> None:
        if choice % 3 == 0:
            self.mesh.clients[choice % len(self.mesh.clients)].close()

    # ---- servers ----

    def answer(self, choice: int) -> None:
        if attempt := self._attempt(choice):
            self._headers(attempt)
            data = message(
                f"{attempt.name}:{attempt.stream}:{len(attempt.body)}:".encode() + b"d" * (choice * 41 % 9000)
            )
            attempt.body += data
            attempt.peer.send(attempt.stream, data)

    def _headers(self, attempt: Sent) -> None:
        if not attempt.headers:
            attempt.headers = True
            attempt.peer.h2.send_headers(attempt.stream, OK_HEADERS)

    def complete(self, choice: int) -> None:
        if attempt := self._attempt(choice):
            self._headers(attempt)
            attempt.done = True
            attempt.peer.send(attempt.stream, trailers=OK_TRAILERS)

    def refuse(self, choice: int) -> None:
        if attempt := self._attempt(choice):
            attempt.done = True
            attempt.peer.reset(attempt.stream, (7, 7, 2, 8)[choice % 4])

    def goaway(self, choice: int) -> None:
        if server := self._server(choice):
            last = choice % (server.h2.highest_inbound_stream_id + 2)
            server.goaway(last)
            for attempt in self.attempts.values():
                if attempt.peer is server and attempt.stream > last:
                    attempt.done = True

    def die(self, choice: int) -> None:
        if choice % 2 and (server := self._server(choice)):
            server.close()

    def limit(self, choice: int) -> None:
        if server := self._server(choice):
            server.h2.update_settings({MAX_CONCURRENT_STREAMS: 1 + choice % 5})

    # ---- endpoints, sockets, time ----

    def add(self, choice: int) -> None:
        self.mesh.plane.turn(self.mesh.cluster.add, [address(1 + choice % 4)])

    def remove(self, choice: int) -> None:
        self.mesh.plane.turn(self.mesh.cluster.remove, [address(1 + choice % 4)])

    def stall(self, choice: int) -> None:
        transport = self.mesh.links[choice % len(self.mesh.links)].transport
        transport.stalled = not transport.stalled

    def some_bytes(self, choice: int) -> None:
        link = self.mesh.links[choice % len(self.mesh.links)]
        if choice % 2:
            link.from_proxy(1 + choice * 7 % 3000)
        else:
            link.to_proxy()

    def all_bytes(self, _choice: int) -> None:
        self.mesh.run()

    def wait(self, choice: int) -> None:
        self.mesh.advance((0.01, 0.3, 1.5)[choice % 3])

    def drain(self, choice: int) -> None:
        client = self.mesh.clients[choice % len(self.mesh.clients)]
        if choice % 5 == 0:
            self.mesh.session(client).drain()

    # ---- the end ----

    def settle(self) -> None:
        """Let all that runs end, then check every stream on both sides."""
        for link in self.mesh.links:
            link.transport.stalled = False
        self.add(0)
        for _ in range(200):
            self.mesh.run()
            self._see()
            if (call := self._call(0)) is not None:
                self.half_close(0)
            if self._attempt(0) is not None:
                self.complete(0)
            elif call is None:
                break
        self.mesh.advance(10)
        for call in self.calls:
            self._check_response(call)
        for attempt in self.attempts.values():
            request = next(call for call in self.calls if call.name == attempt.name)
            assert request.body.startswith(attempt.record.data), "request data lost or reordered"
            if attempt.record.ended:
                assert attempt.record.data == request.body
        self.mesh.ledger()

    def _check_response(self, call: Sent) -> None:
        record = call.record
        gone = call.peer.closed or call.peer.leaving
        senders = [a for a in self.attempts.values() if a.name == call.name and a.headers]
        assert any(a.body.startswith(record.data) for a in senders) or not record.data, (
            "response data lost or reordered"
        )
        assert gone or call.left or record.over, f"{call.name} never ended"
        if record.ended and record.get("grpc-status") == "0":
            assert any(a.body == record.data for a in senders), "a truncated response ended with OK"
