"""A mesh of HTTP/1.x clients and servers that random events happen to, and what must be true whatever they are.

Requests name themselves in their path and in every piece of their body, and a response repeats the name of what it
answers: so a byte that reaches the wrong request, or in the wrong order, shows. h11, which shares no code with the
proxy, reads and writes on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11

from tests.wire.harness import address
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

METHODS = (b"GET", b"GET", b"POST", b"PUT")


@dataclass(slots=True)
class Asked:
    """One request, and what its client has received for it."""

    name: bytes
    body: bytes = b""
    status: int = 0
    answer: bytes = b""
    complete: bool = False


@dataclass(slots=True, eq=False)
class Client:
    socket: Socket
    codec: Any = field(default_factory=lambda: h11.Connection(h11.CLIENT))
    asked: list[Asked] = field(default_factory=list)
    gone: bool = False

    @property
    def now(self) -> Asked | None:
        """The request whose answer is awaited."""
        return self.asked[-1] if self.asked and not self.asked[-1].complete else None

    @property
    def sending(self) -> bool:
        return bool(self.codec.our_state is h11.SEND_BODY)

    def read(self) -> None:
        if data := self.socket.take():
            self.codec.receive_data(data)
        while self.codec.their_state not in (h11.DONE, h11.CLOSED, h11.ERROR):
            event = self.codec.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                break
            now = self.asked[-1]
            if isinstance(event, h11.Response):
                now.status = event.status_code
            elif isinstance(event, h11.Data):
                now.answer += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                now.complete = True
        if self.codec.our_state is h11.DONE and self.codec.their_state is h11.DONE:
            self.codec.start_next_cycle()


@dataclass(slots=True, eq=False)
class Server:
    socket: Socket
    codec: Any = field(default_factory=lambda: h11.Connection(h11.SERVER))
    name: bytes = b""
    body: bytes = b""
    said: int = 0
    whole: bool = False
    gone: bool = False

    @property
    def answering(self) -> bool:
        return bool(self.codec.our_state is h11.SEND_BODY)

    @property
    def owes(self) -> bool:
        return bool(self.name) and not self.gone and self.codec.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY)


class PlainWorld:
    """`act` does one event; `settle` ends everything and checks it all."""

    def __init__(self, balancer: str) -> None:
        self.mesh = PlainMesh(3, balancer=balancer, max_pending=5, timeout_s=8.0)
        self.clients = [Client(self.mesh.connect()) for _ in range(4)]
        self.servers: list[Server] = []
        self.bodies: dict[bytes, bytes] = {}  # request's name -> what its client has sent of its body
        self.answers: dict[bytes, list[bytes]] = {}  # request's name -> all that servers have said to it, by attempt
        self.past: list[Client] = []

    def act(self, event: str, choice: int) -> None:
        self.see()
        getattr(self, event)(choice)

    def see(self) -> None:
        """Read on every socket."""
        for client in self.clients:
            client.read()
        self.servers += [Server(socket) for socket in self.mesh.sockets[len(self.servers) :]]
        for server in self.servers:
            if not server.gone:
                self._read(server)

    def _read(self, server: Server) -> None:
        if data := server.socket.take():
            server.codec.receive_data(data)
        while server.codec.their_state in (h11.IDLE, h11.SEND_BODY):
            event = server.codec.next_event()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                break
            if isinstance(event, h11.Request):
                server.name, server.body, server.said, server.whole = event.target[1:], b"", 0, False
                self.answers.setdefault(server.name, []).append(b"")
            elif isinstance(event, h11.Data):
                server.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                server.whole = True
                assert server.body == self.bodies[server.name], "a request that is not its client's"
            assert self.bodies[server.name].startswith(server.body), "request data lost or reordered"
        self._next(server)

    @staticmethod
    def _next(server: Server) -> None:
        if server.codec.our_state is h11.DONE and server.codec.their_state is h11.DONE:
            server.codec.start_next_cycle()
            server.name = b""

    # ---- clients ----

    def ask(self, choice: int) -> None:
        at = choice % len(self.clients)
        client = self.clients[at]
        if client.gone or client.socket.over or client.codec.our_state is not h11.IDLE:
            if client.now is None or client.gone or client.socket.over:
                self.past.append(client)
                client.socket.leave()
                self.clients[at] = client = Client(self.mesh.connect())
            else:
                return
        name = b"q%d" % len(self.bodies)
        method = METHODS[choice % 4]
        headers = [(b"Host", b"a")]
        if method != b"GET":
            headers.append((b"Transfer-Encoding", b"chunked"))
        if choice % 7 == 0:
            headers.append((b"Connection", b"close"))
        self.bodies[name] = b""
        client.asked.append(Asked(name))
        client.socket.send(client.codec.send(h11.Request(method=method, target=b"/" + name, headers=headers)))
        if method == b"GET":
            client.socket.send(client.codec.send(h11.EndOfMessage()))

    def _sending(self, choice: int) -> Client | None:
        live = [c for c in self.clients if c.sending and not c.gone and not c.socket.over]
        return live[choice % len(live)] if live else None

    def say(self, choice: int) -> None:
        if client := self._sending(choice):
            name = client.asked[-1].name
            data = b"%b:%d:" % (name, len(self.bodies[name])) + b"u" * (choice * 37 % 20_000)
            self.bodies[name] += data
            client.socket.send(client.codec.send(h11.Data(data=data)))

    def end(self, choice: int) -> None:
        if client := self._sending(choice):
            client.socket.send(client.codec.send(h11.EndOfMessage()))

    def depart(self, choice: int) -> None:
        client = self.clients[choice % len(self.clients)]
        client.gone = True
        client.socket.leave() if choice % 2 else client.socket.reset()

    # ---- servers ----

    def _owing(self, choice: int) -> Server | None:
        live = [s for s in self.servers if s.owes and not s.socket.over]
        return live[choice % len(live)] if live else None

    def answer(self, choice: int) -> None:
        if server := self._owing(choice):
            if not server.answering:
                framing = [] if choice % 5 == 0 else [(b"Transfer-Encoding", b"chunked")]
                response = h11.Response(status_code=200, headers=[*framing, (b"X-Of", server.name)])
                head = server.codec.send(response)
                server.socket.send(head)
            data = b"%b:%d:" % (server.name, server.said) + b"d" * (choice * 41 % 20_000)
            server.said += len(data)
            self.answers[server.name][-1] += data
            server.socket.send(server.codec.send(h11.Data(data=data)))

    def complete(self, choice: int) -> None:
        if server := self._owing(choice):
            if not server.answering:
                self.answer(choice)
            server.socket.send(server.codec.send(h11.EndOfMessage()))
            if server.codec.our_state is h11.MUST_CLOSE:
                server.socket.finish()
                server.gone = True
            self._next(server)

    def die(self, choice: int) -> None:
        live = [s for s in self.servers if not s.gone]
        if live:
            server = live[choice % len(live)]
            server.gone = True
            (server.socket.leave, server.socket.reset)[choice % 2]()

    def blurt(self, choice: int) -> None:
        """An answer that nobody asked for. One that crosses a request on its way cannot be told from the request's."""
        idle = [s for s in self.servers if not s.gone and not s.name and self._is_quiet(s)]
        if idle:
            server = idle[choice % len(idle)]
            server.gone = True
            server.socket.send(b"HTTP/1.1 200 OK\r\nX-Of: nobody\r\nContent-Length: 6\r\n\r\nnobody"[: 1 + choice % 70])
            self.mesh.link(server.socket).to_proxy()  # type: ignore[arg-type]

    def _is_quiet(self, server: Server) -> bool:
        transport = self.mesh.transport(server.socket)
        request = transport.outgoing or transport.held or transport.paused or server.codec.trailing_data[0]
        return not (request or server.socket.unsent)

    # ---- endpoints, sockets, time ----

    def add(self, choice: int) -> None:
        self.mesh.plane.turn(self.mesh.cluster.add, [address(1 + choice % 4)])

    def remove(self, choice: int) -> None:
        self.mesh.plane.turn(self.mesh.cluster.remove, [address(1 + choice % 4)])

    def unreachable(self, choice: int) -> None:
        mode = ("refuse", "hold", "accept")[choice % 3]
        self.mesh.modes[f"10.0.0.{1 + choice % 4}:50051"] = mode

    def stall(self, choice: int) -> None:
        transport = self.mesh.links[choice % len(self.mesh.links)].transport
        transport.stalled = not transport.stalled

    def fail(self, choice: int) -> None:
        """A write fails, and the transport tells the proxy only later."""
        link = self.mesh.links[choice % len(self.mesh.links)]
        if not link.transport.closing:
            link.transport.fail()

    def some_bytes(self, choice: int) -> None:
        link: Any = self.mesh.links[choice % len(self.mesh.links)]
        if choice % 2:
            link.from_proxy(1 + choice * 7 % 3000)
        else:
            link.to_proxy(1 + choice * 11 % 3000)

    def all_bytes(self, _choice: int) -> None:
        self.mesh.run()

    def wait(self, choice: int) -> None:
        self.mesh.advance((0.01, 0.3, 3.5)[choice % 3])
        self.mesh.redial()

    # ---- the end ----

    def settle(self) -> None:
        """Let all that runs end, then check every answer."""
        self.mesh.modes.clear()
        for link in self.mesh.links:
            link.transport.stalled = False
        self.add(0)
        for _ in range(200):
            self.mesh.run()
            self.mesh.redial()
            self.see()
            if self._sending(0) is None and self._owing(0) is None:
                break
            self.end(0)
            self.mesh.run()
            self.see()
            self.complete(0)
        self.mesh.advance(10)
        self.see()
        for client in [*self.past, *self.clients]:
            for asked in client.asked:
                self._check(client, asked)
        self.mesh.ledger()

    def _check(self, client: Client, asked: Asked) -> None:
        heard = self.answers.get(asked.name, [])
        if asked.status == 200:
            assert any(said.startswith(asked.answer) for said in heard), "an answer to another request, or out of order"
            if asked.complete:
                assert asked.answer in heard, "a truncated answer looks whole"
        assert asked.complete or client.gone or client.socket.over, f"{asked.name!r} was never answered"
        assert asked.status in (0, 200, 502, 503, 504), asked.status
