"""Endpoints whose connections are made for calls: ready until one fails (semantics: 12)."""

from __future__ import annotations

import pytest

from tests.wire.conftest import PlainOf
from tests.wire.harness import address
from tests.wire.plain import PlainMesh
from tests.wire.sockets import Socket

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BOTH = pytest.mark.parametrize("protocol", ["http1", "tcp"])


def begin(mesh: PlainMesh) -> Socket:
    """A call of the mesh's protocol."""
    if mesh.cluster.protocol == "tcp":
        client = mesh.relay()
    else:
        client = mesh.connect()
        client.send(GET)
    mesh.run()
    return client


@BOTH
def test_nothing_is_dialled_before_a_call(plain_of: PlainOf, protocol: str) -> None:
    mesh = plain_of(3, protocol=protocol)
    mesh.advance(10)
    assert not mesh.sockets and all(e.ready and not e.missing for e in mesh.cluster.endpoints)


@BOTH
def test_an_endpoint_that_fails_is_dialled_until_it_is_reached(plain_of: PlainOf, protocol: str) -> None:
    mesh = plain_of(2, protocol=protocol)
    one = mesh.endpoint(1)
    mesh.modes[one.address] = "refuse"
    for _ in range(3):
        begin(mesh)
    assert not one.ready and one.missing == 1 and one.state == "backoff"
    mesh.redial()
    assert not one.ready
    mesh.modes.clear()
    mesh.redial()
    assert one.ready and not one.missing and one.last_error is None
    before = len(mesh.servers_at(1))
    for _ in range(4):
        begin(mesh)
    assert len(mesh.servers_at(1)) > before or one.in_flight


@BOTH
def test_the_dialers_connection_is_not_left_behind(plain_of: PlainOf, protocol: str) -> None:
    mesh = plain_of(2, protocol=protocol)
    mesh.modes[mesh.endpoint(1).address] = "refuse"
    for _ in range(2):
        begin(mesh)
    mesh.modes.clear()
    mesh.redial()
    mesh.advance(4)
    assert mesh.servers_at(1)[0].over
    assert mesh.endpoint(1).connections == 0


@BOTH
def test_calls_wait_for_the_first_endpoint(plain_of: PlainOf, protocol: str) -> None:
    mesh = plain_of(0, protocol=protocol)
    clients = [begin(mesh) for _ in range(3)]
    assert mesh.cluster.pending == 3
    mesh.update("add", address(1))
    assert len(mesh.sockets) == 3 and not any(client.over for client in clients)


@BOTH
def test_a_removed_endpoint_gets_no_new_call(plain_of: PlainOf, protocol: str) -> None:
    mesh = plain_of(2, protocol=protocol)
    mesh.update("remove", address(1))
    for _ in range(4):
        begin(mesh)
    assert not mesh.servers_at(1) and len(mesh.servers_at(2)) == 4


@BOTH
def test_a_removed_endpoint_is_forgotten_when_its_last_connection_goes(plain_of: PlainOf, protocol: str) -> None:
    mesh = plain_of(2, protocol=protocol)
    client = begin(mesh)
    other = 1 if mesh.servers_at(1) else 2
    mesh.update("remove", address(other))
    assert [e.state for e in mesh.cluster.endpoints] == ["ready", "draining"]
    client.reset()
    mesh.advance(3)
    assert [e.state for e in mesh.cluster.endpoints] == ["ready"]


@BOTH
@pytest.mark.parametrize("reached", [True, False])
def test_an_endpoint_that_goes_while_it_is_dialled(plain_of: PlainOf, protocol: str, reached: bool) -> None:
    mesh = plain_of(1, protocol=protocol)
    endpoint = mesh.endpoint(1)
    mesh.modes[endpoint.address] = "hold"
    clients = [begin(mesh), begin(mesh)]
    clients[0].reset()
    mesh.run()
    mesh.update("reset", address(2))
    mesh.modes[endpoint.address] = "accept" if reached else "refuse"
    mesh.run()
    assert len(mesh.servers_at(2)) == (0 if reached else 1)
    clients[1].reset()
    mesh.advance(3)
    assert endpoint.connections == 0 and endpoint.in_flight == 0 and not endpoint.missing


def test_the_same_address_with_another_uid_shares_no_connection(plain_of: PlainOf) -> None:
    mesh = plain_of([address(1, uid="old")])
    client = begin(mesh)
    mesh.server().send(b"HTTP/1.1 204 X\r\n\r\n")
    mesh.run()
    mesh.update("reset", address(1, uid="new"))
    assert mesh.server().over
    client.send(GET)
    mesh.run()
    assert [mesh.of_server[id(s)].uid for s in mesh.sockets] == ["old", "new"]


def test_a_cluster_that_is_configured_away_ends_what_waits(plain_of: PlainOf) -> None:
    mesh = plain_of(0)
    client = begin(mesh)
    mesh.plane.turn(mesh.cluster.close)
    mesh.run()
    assert client.take().startswith(b"HTTP/1.1 503 ")
