"""Whatever happens in whatever order, a relayed byte is neither lost nor moved, and each end ends as the other did."""

from __future__ import annotations

import random

import pytest

from proxy.dataplane import Origin, Relay
from tests.wire.harness import address
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket


class Way:
    """One direction of one connection."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.received = bytearray()
        self.finished = False


class Pair:
    """A client, and the server that it came to once there is one."""

    def __init__(self, mesh: PlainMesh, name: bytes, speculative: bool) -> None:
        self.mesh = mesh
        self.name = name
        self.up, self.down = Way(), Way()
        self.server: Socket | None = None
        self.broken = False
        self.relay = Relay(mesh.router, Origin("outbound"))
        self.client: Socket | None = None
        if speculative:
            self.relay.begin(lambda: None)
        else:
            self.hand_over()
            self.relay.begin()

    def hand_over(self) -> None:
        if self.client is None:
            self.client = self.mesh.accept(self.relay.connection())

    def say(self, socket: Socket | None, way: Way, size: int) -> None:
        if socket is not None and not way.finished and not self.broken:
            data = b"%b:%d:" % (self.name, len(way.sent)) + b"x" * size
            way.sent += data
            socket.send(data)

    def finish(self, socket: Socket | None, way: Way) -> None:
        if socket is not None and not self.broken:
            way.finished = True
            socket.finish()

    def reset(self, socket: Socket | None) -> None:
        if socket is not None:
            self.broken = True
            socket.reset()

    def see(self) -> None:
        for socket, way in ((self.server, self.up), (self.client, self.down)):
            if socket is not None:
                way.received += socket.take()
                assert way.sent.startswith(way.received), "bytes lost or reordered"


class RelayWorld:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.mesh = PlainMesh(3, protocol="tcp", balancer=dice.choice(["peak_ewma", "least_request", "round_robin"]))
        self.pairs: list[Pair] = []
        self.served = 0

    def step(self) -> None:
        dice, mesh = self.dice, self.mesh
        if dice.random() < 0.1 or not self.pairs:
            self.pairs.append(Pair(mesh, b"p%d" % len(self.pairs), dice.random() < 0.4))
        pair = dice.choice(self.pairs)
        event = dice.random()
        ends = (pair.client, pair.up), (pair.server, pair.down)
        socket, way = dice.choice(ends)
        if event < 0.3:
            pair.say(socket, way, dice.randint(0, 90_000))
        elif event < 0.4:
            pair.finish(socket, way)
        elif event < 0.43:
            pair.reset(socket)
        elif event < 0.5:
            pair.hand_over()
        elif event < 0.6:
            link = dice.choice(mesh.links or [None])
            if link is not None:
                link.transport.stalled = not link.transport.stalled
        elif event < 0.65:
            mesh.plane.turn(dice.choice([mesh.cluster.add, mesh.cluster.remove]), [address(dice.randint(1, 4))])
        elif event < 0.7:
            mesh.modes[f"10.0.0.{dice.randint(1, 4)}:50051"] = dice.choice(["refuse", "hold", "accept"])
        elif event < 0.9 and mesh.links:
            link = dice.choice(mesh.links)
            _ = link.from_proxy(dice.randint(1, 5000)) if dice.random() < 0.5 else link.to_proxy()
        elif event < 0.95:
            mesh.run()
        else:
            mesh.advance(dice.choice([0.01, 0.3]))
            mesh.redial()
        self.see()

    def see(self) -> None:
        for pair in self.pairs:
            if pair.server is None:
                pair.server = self._server_of(pair)
            pair.see()

    def _server_of(self, pair: Pair) -> Socket | None:
        """A server learns whom it serves from the first bytes; until then it says nothing."""
        taken = {id(other.server) for other in self.pairs}
        for socket in self.mesh.sockets:
            if id(socket) not in taken and bytes(socket.received[:32]).startswith(pair.name + b":"):
                return socket
        return None

    def settle(self) -> None:
        mesh = self.mesh
        mesh.modes.clear()
        for link in mesh.links:
            link.transport.stalled = False
        mesh.plane.turn(mesh.cluster.add, [address(1)])
        mesh.run()
        mesh.redial()
        for pair in self.pairs:
            pair.hand_over()
            pair.say(pair.client, pair.up, 10)
        mesh.run()
        self.see()
        for pair in self.pairs:
            pair.finish(pair.client, pair.up)
            pair.finish(pair.server, pair.down)
        mesh.run()
        self.see()
        for pair in self.pairs:
            assert pair.client is not None
            if not pair.broken and pair.server is not None:
                assert pair.client.ended and pair.server.ended
                assert pair.up.received == pair.up.sent and pair.down.received == pair.down.sent
        mesh.ledger()


@pytest.mark.parametrize("seed", range(80))
def test_no_byte_is_lost_or_moved(seed: int) -> None:
    dice = random.Random(seed)
    world = RelayWorld(dice)
    for _ in range(dice.randint(30, 400)):
        world.step()
    world.settle()
