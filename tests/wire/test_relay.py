"""TCP passed through: every byte, each end's FIN by itself, a reset to both (semantics: 9 and 10)."""

from __future__ import annotations

import pytest

from proxy.dataplane import Origin, Relay
from tests.wire.conftest import PlainOf
from tests.wire.harness import address
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

DATA = bytes(range(256)) * 200


def relayed(mesh: PlainMesh) -> tuple[Socket, Socket]:
    client = mesh.relay()
    mesh.run()
    return client, mesh.server()


def test_bytes_go_both_ways(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    client, server = relayed(mesh)
    client.send(DATA)
    server.send(DATA[::-1])
    mesh.run()
    assert server.take() == DATA and client.take() == DATA[::-1]


def test_bytes_that_come_before_the_connection_stands_wait(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    mesh.modes[mesh.endpoint(1).address] = "hold"
    client = mesh.relay()
    for _ in range(10):
        client.send(DATA)
        mesh.run()
    client.finish()
    mesh.run()
    assert len(client.unsent) > 5 * len(DATA), "a client that has no server yet is not held up"
    mesh.modes.clear()
    mesh.run()
    assert mesh.server().take() == DATA * 10 and mesh.server().ended and not client.over


@pytest.mark.parametrize("first", ["client", "server"])
def test_each_direction_ends_by_itself(plain_of: PlainOf, first: str) -> None:
    mesh = plain_of(protocol="tcp")
    client, server = relayed(mesh)
    one, two = (client, server) if first == "client" else (server, client)
    one.send(b"last words")
    one.finish()
    mesh.run()
    assert two.take() == b"last words" and two.ended and not one.over
    two.send(DATA)
    two.finish()
    mesh.run()
    assert one.take() == DATA and one.ended
    assert mesh.transport(one).lost and mesh.transport(two).lost
    assert mesh.outcomes() == {("success", 0, -1, ""): 1}


@pytest.mark.parametrize("order", [0, 1])
def test_ends_with_data_pending_on_both_sides_lose_nothing(plain_of: PlainOf, order: int) -> None:
    mesh = plain_of(protocol="tcp")
    both = relayed(mesh)
    for socket in both:
        mesh.transport(socket).stalled = True
        socket.send(DATA)
        socket.finish()
    mesh.run()
    for socket in (both[order], both[1 - order]):
        mesh.transport(socket).stalled = False
        mesh.run()
        assert socket.take() == DATA and socket.ended and not socket.broken


@pytest.mark.parametrize(
    ("first", "outcome"), [("client", ("cancelled", "")), ("server", ("failure", "upstream_lost"))]
)
def test_a_reset_reaches_the_other_end(plain_of: PlainOf, first: str, outcome: tuple[str, str]) -> None:
    mesh = plain_of(protocol="tcp")
    client, server = relayed(mesh)
    one, two = (client, server) if first == "client" else (server, client)
    two.send(b"x")
    mesh.run()
    one.reset()
    mesh.run()
    assert two.broken
    assert mesh.outcomes() == {(outcome[0], 0, -1, outcome[1]): 1}


def test_a_reset_ends_a_half_closed_connection(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    client, server = relayed(mesh)
    client.finish()
    mesh.run()
    server.reset()
    mesh.run()
    assert client.broken


def test_a_connection_that_fails_goes_to_another_endpoint(plain_of: PlainOf) -> None:
    mesh = plain_of(2, protocol="tcp")
    mesh.modes[mesh.endpoint(1).address] = "refuse"
    clients = [mesh.relay() for _ in range(4)]
    mesh.run()
    assert len(mesh.servers_at(2)) == 4 and not any(client.over for client in clients)
    assert mesh.endpoint(1).state == "backoff" and mesh.endpoint(1).in_flight == 0


def test_no_endpoint_that_can_be_reached_is_a_reset(plain_of: PlainOf) -> None:
    mesh = plain_of(2, protocol="tcp")
    for n in (1, 2):
        mesh.modes[mesh.endpoint(n).address] = "refuse"
    client = mesh.relay()
    client.send(b"hello")
    mesh.advance(2.9)
    assert not client.over
    mesh.advance(0.2)
    assert client.broken
    assert mesh.outcomes()[("failure", 0, -1, "connect_failed")] == 1
    second = mesh.relay()
    mesh.run()
    assert second.broken, "failing fast"


def test_an_endpoint_that_can_be_reached_again_takes_what_waits(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    mesh.modes[mesh.endpoint(1).address] = "refuse"
    client = mesh.relay()
    client.send(b"hello")
    mesh.advance(1)
    mesh.modes.clear()
    mesh.redial()
    assert mesh.server().take() == b"hello" and not client.over


def test_open_connections_are_balanced(plain_of: PlainOf) -> None:
    mesh = plain_of(3, protocol="tcp", balancer="least_request")
    for _ in range(30):
        mesh.relay()
        mesh.run()
    assert [len(mesh.servers_at(n)) for n in (1, 2, 3)] == pytest.approx([10, 10, 10], abs=3)


def test_a_relay_goes_on_when_its_endpoint_is_removed(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    client, server = relayed(mesh)
    mesh.update("remove", address(1))
    mesh.advance(60)
    client.send(b"still here")
    mesh.run()
    assert server.take() == b"still here"


def test_an_endpoint_that_goes_while_it_is_dialled_still_serves_the_call(plain_of: PlainOf) -> None:
    mesh = plain_of(2, protocol="tcp")
    for n in (1, 2):
        mesh.modes[mesh.endpoint(n).address] = "hold"
    client = mesh.relay()
    mesh.run()
    mesh.update("reset", address(3))
    mesh.modes.clear()
    mesh.run()
    client.send(b"x")
    mesh.run()
    assert mesh.server().take() == b"x"


@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_end_holds_up_the_other_and_no_neighbour(plain_of: PlainOf, slow: int) -> None:
    mesh = plain_of(protocol="tcp")
    pair, neighbours = relayed(mesh), relayed(mesh)
    mesh.transport(pair[slow]).stalled = True
    for _ in range(100):
        pair[1 - slow].send(b"x" * 10_000)
        mesh.run()
    assert len(pair[1 - slow].unsent) > 700_000
    neighbours[0].send(b"hello")
    mesh.run()
    assert neighbours[1].take() == b"hello"
    mesh.transport(pair[slow]).stalled = False
    mesh.run()
    assert len(pair[slow].take()) == 1_000_000


def test_a_transport_that_closed_itself_ends_both(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    client, server = relayed(mesh)
    mesh.transport(server).fail()
    client.send(b"x")
    client.send(b"y")
    mesh.run()
    assert client.broken


# ---- the server first: nobody knows yet that it is TCP ----


class Speculation:
    """A connection on which nothing was said, and the relay that finds out whether the server speaks."""

    def __init__(self, mesh: PlainMesh) -> None:
        self.mesh = mesh
        self.spoke = 0
        self.relay = Relay(mesh.router, Origin("outbound"))
        self.relay.begin(self._spoke)
        mesh.run()

    def _spoke(self) -> None:
        self.spoke += 1

    def hand_over(self) -> Socket:
        client = self.mesh.accept(self.relay.connection())
        self.mesh.run()
        return client


def test_a_server_that_speaks_first_is_heard(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    quiet = Speculation(mesh)
    assert quiet.spoke == 0
    for _ in range(5):
        mesh.server().send(DATA)
        mesh.run()
    mesh.advance(0.01)
    assert quiet.spoke == 1 and len(mesh.server().unsent) == 4 * len(DATA)
    client = quiet.hand_over()
    assert client.take() == DATA * 5
    client.send(b"hello")
    mesh.run()
    assert mesh.server().take() == b"hello"


@pytest.mark.parametrize("said", [b"", b"220 bye\r\n"])
def test_a_server_that_ends_first_is_heard(plain_of: PlainOf, said: bytes) -> None:
    mesh = plain_of(protocol="tcp")
    quiet = Speculation(mesh)
    mesh.server().send(said)
    mesh.server().finish()
    mesh.advance(0.01)
    assert quiet.spoke == 1
    client = quiet.hand_over()
    assert client.take() == said and client.ended
    client.send(b"quit")
    client.finish()
    mesh.run()
    assert mesh.server().take() == b"quit" and mesh.server().ended
    assert mesh.outcomes() == {("success", 0, -1, ""): 1}


def test_a_client_that_speaks_tcp_after_all(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    client = Speculation(mesh).hand_over()
    client.send(b"\x00\x01")
    mesh.run()
    mesh.server().send(b"\x02")
    mesh.run()
    assert mesh.server().take() == b"\x00\x01" and client.take() == b"\x02"


def test_a_client_that_speaks_http_after_all(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    quiet = Speculation(mesh)
    quiet.relay.abandon()
    mesh.advance(0.01)
    assert mesh.server().broken and quiet.spoke == 0 and quiet.relay.is_over
    assert mesh.outcomes() == {("cancelled", 0, -1, ""): 1}


def test_a_client_that_comes_before_the_connection_stands(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    mesh.modes[mesh.endpoint(1).address] = "hold"
    client = Speculation(mesh).hand_over()
    client.send(b"hello")
    mesh.run()
    mesh.modes.clear()
    mesh.run()
    assert mesh.server().take() == b"hello"


def test_a_server_that_cannot_be_reached_is_a_reset(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp", only=True)
    mesh.modes[mesh.endpoint(1).address] = "refuse"
    quiet = Speculation(mesh)
    mesh.advance(0.01)
    assert quiet.spoke == 1
    assert quiet.hand_over().broken


def test_a_server_that_is_lost_again_is_a_reset(plain_of: PlainOf) -> None:
    mesh = plain_of(protocol="tcp")
    quiet = Speculation(mesh)
    mesh.server().reset()
    mesh.advance(0.01)
    assert quiet.spoke == 1
    assert quiet.hand_over().broken
