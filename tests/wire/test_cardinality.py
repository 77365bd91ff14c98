"""Semantics 9: what callers and endpoints say costs a bounded number of counters."""

from __future__ import annotations

import itertools

from tests.wire.conftest import MeshOf
from tests.wire.messages import HTTP_GET, OK_TRAILERS
from tests.wire.peers import Server


def test_authorities_and_methods_are_bounded(mesh_of: MeshOf) -> None:
    router = mesh_of(0).router
    seen = {router.labels_for(f"{n}.example", f"test.Echo/{n}") for n in range(1500)}
    assert len({labels.authority for labels in seen}) == len({labels.method for labels in seen}) == 1001
    late = router.labels_for("late.example", "test.Echo/Late")
    assert (late.authority, late.method) == ("other", "other")
    assert router.labels_for("7.example", "test.Echo/7").method == "test.Echo/7"


def test_pairs_of_an_authority_and_a_method_are_bounded(mesh_of: MeshOf) -> None:
    """A thousand of each would be a million sets of counters, for every endpoint."""
    router = mesh_of(0).router
    first = router.labels_for("0.example", "test.Echo/0")
    seen = {router.labels_for(f"{a}.example", f"test.Echo/{m}") for a, m in itertools.product(range(200), range(200))}
    assert len(seen) == 10_001
    late = router.labels_for("199.example", "test.Echo/199")
    assert (late.authority, late.method) == ("other", "other")
    assert router.labels_for("0.example", "test.Echo/0") is first


def test_a_grpc_status_in_what_is_not_grpc_means_nothing(mesh_of: MeshOf) -> None:
    """An endpoint that sends a new number each time would have a counter for every one of them."""

    def serve(server: Server, stream: int) -> None:
        number = (b"grpc-status", b"%d" % (1000 + stream))
        if stream % 4 == 1:
            server.respond(stream, b"page", headers=[(b":status", b"200"), number], trailers=None)
        else:
            server.respond(stream, b"page", headers=[(b":status", b"200")], trailers=[number, *OK_TRAILERS])

    mesh = mesh_of(1, serve=serve)
    client = mesh.client()
    for _ in range(10):
        client.call(HTTP_GET)
        mesh.run()
    assert mesh.outcomes() == {("success", 200, -1, ""): 10}
