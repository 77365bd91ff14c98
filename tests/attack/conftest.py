"""One healthy server for all attacks, and one proxy for all hostile clients: each must leave it as it was."""

from collections.abc import Iterator

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
