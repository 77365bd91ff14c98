"""The independent proxies, started once for all tests here."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.http1.exchange import Lane
from tests.http1.references import REFERENCES, program


@pytest.fixture(scope="package")
def references(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Sequence[Lane]]]:
    """The reference proxies that are installed, by name; it may be none."""
    with contextlib.ExitStack() as running:
        yield {
            name: running.enter_context(start(tmp_path_factory.mktemp(name)))
            for name, start in REFERENCES.items()
            if program(name)
        }
