"""Every wire test gets its Mesh from `mesh_of`, and with it the check that each call ended once and nothing faulted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.wire.harness import Mesh
from tests.wire.plain import PlainMesh

MeshOf = Callable[..., Mesh]
PlainOf = Callable[..., PlainMesh]


@pytest.fixture
def mesh_of() -> Iterator[MeshOf]:
    """A function that makes a Mesh (its arguments are Mesh's)."""
    made: list[Mesh] = []

    def make(*arguments: object, **settings: object) -> Mesh:
        mesh = Mesh(*arguments, **settings)  # type: ignore[arg-type]
        made.append(mesh)
        return mesh

    yield make
    for mesh in made:
        mesh.ledger()


@pytest.fixture
def plain_of() -> Iterator[PlainOf]:
    """A function that makes a PlainMesh (its arguments are PlainMesh's)."""
    made: list[PlainMesh] = []

    def make(*arguments: object, **settings: object) -> PlainMesh:
        mesh = PlainMesh(*arguments, **settings)  # type: ignore[arg-type]
        made.append(mesh)
        return mesh

    yield make
    for mesh in made:
        mesh.ledger()
