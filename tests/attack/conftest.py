"""One proxy for all hostile clients (each must leave it as it was), and one for each hostile server."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.attack.scene import Scene, scene
from tests.support.echo import EchoServer, echo_servers


@pytest.fixture(scope="session")
def echo() -> Iterator[EchoServer]:
    with echo_servers("healthy") as servers:
        yield servers[0]


@pytest.fixture(scope="module")
def attacked_proxy(echo: EchoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(echo, tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture
def proxy_before(echo: EchoServer, tmp_path: Path) -> Callable[[str], AbstractContextManager[Scene]]:
    """Starts a proxy whose second cluster is at the address given."""
    return lambda hostile: scene(echo, tmp_path, hostile)
