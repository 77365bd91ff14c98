"""One interop server, and the proxy in front of it, for all the interop tests."""

from collections.abc import Iterator

import pytest

from tests.support.ports import free_address
from tests.support.process import start_proxy, start_python


@pytest.fixture(scope="session")
def direct_address() -> Iterator[str]:
    """Where the interop server listens."""
    address = free_address()
    with start_python("tests.interop.server", address, name="the interop server") as server:
        server.wait_for_port(address)
        yield address


@pytest.fixture(scope="session")
def proxied_address(direct_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the proxy listens that sends every call to the interop server."""
    config = {
        "listeners": [{"name": "outbound"}],
        "clusters": [{"name": "interop", "static": {"endpoints": [{"address": direct_address}]}}],
        "routes": [{"cluster": "interop"}],
    }
    with start_proxy(config, tmp_path_factory.mktemp("interop")) as proxy:
        yield proxy.listener("outbound")
