"""Clusters for original destinations: bounded in number, and none goes while it is in use."""

from __future__ import annotations

from proxy.clusters import MOST_ORIGINALS, Originals
from proxy.dataplane import DataPlane, Origin, Relay, Router
from tests.wire.loop import FakeLoop


def test_a_destination_in_use_is_not_forgotten_for_new_ones() -> None:
    loop = FakeLoop()
    plane = DataPlane(loop, clock=loop.clock)
    forgotten: list[None] = []
    originals = Originals(plane, lambda: forgotten.append(None))
    used = originals.cluster("outbound", "10.0.0.1:80", "tcp")
    relay = Relay(Router(plane, lambda *_: ([(used, 1)], None)), Origin("outbound"))
    relay.begin()
    for n in range(2 * MOST_ORIGINALS):
        originals.cluster("outbound", f"10.1.{n // 250}.{n % 250}:80", "tcp")
    assert originals.cluster("outbound", "10.0.0.1:80", "tcp") is used and used.endpoints
    assert len(plane.clusters) == MOST_ORIGINALS and forgotten
    relay.abandon()
    for n in range(MOST_ORIGINALS):
        originals.cluster("outbound", f"10.2.{n // 250}.{n % 250}:80", "tcp")
    assert originals.cluster("outbound", "10.0.0.1:80", "tcp") is not used
    originals.close()
    assert not plane.clusters and plane.faults == 0


def test_more_destinations_than_that_may_be_in_use() -> None:
    loop = FakeLoop()
    plane = DataPlane(loop, clock=loop.clock)
    originals = Originals(plane, lambda: None)
    relays = []
    for n in range(MOST_ORIGINALS + 50):
        cluster = originals.cluster("outbound", f"10.1.{n // 250}.{n % 250}:80", "tcp")
        relays.append(Relay(Router(plane, lambda *_, to=cluster: ([(to, 1)], None)), Origin("outbound")))
        relays[-1].begin()
    assert len(plane.clusters) == MOST_ORIGINALS + 50 and plane.calls == MOST_ORIGINALS + 50
    for relay in relays:
        relay.abandon()
    for n in range(10):
        originals.cluster("outbound", f"10.0.0.{n}:80", "tcp")
    assert len(plane.clusters) == MOST_ORIGINALS
    originals.close()
    assert plane.calls == 0 and plane.faults == 0
