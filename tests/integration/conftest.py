"""The stage of the integration tests: three echo servers behind a proxy, shared by tests that only call."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.echo import EchoServer, echo_servers
from tests.support.process import ProxyProcess, start_proxy

SHORT_TIMEOUT_S = 0.6
SHORT_AUTHORITY = "short.example"  # calls to it have the route's limit of SHORT_TIMEOUT_S
METHODS = ("Unary", "Collect", "Expand", "Chat")


@dataclass(frozen=True, slots=True)
class Stage:
    """Running echo servers, and the proxy in front of them."""

    servers: list[EchoServer]
    proxy: ProxyProcess

    @property
    def address(self) -> str:
        return self.proxy.listener("outbound")


def echo_config(*addresses: str, **settings: Any) -> dict[str, Any]:
    """A configuration that sends all calls to these endpoints; `settings` are more top-level keys.

    In turn: peak_ewma would rightly leave out for a while a server that was late once, and tests wait for each.
    """
    endpoints = [{"address": address} for address in addresses]
    return {
        "listeners": [{"name": "outbound"}],
        "clusters": [{"name": "echo", "balancer": "round_robin", "static": {"endpoints": endpoints}}],
        "routes": [{"cluster": "echo"}],
        **settings,
    }


def wait_for_connections(proxy: ProxyProcess, count: int) -> None:
    """Ready is the proxy before its endpoints are; returns when so many of them are, too."""
    proxy.wait_until(lambda: proxy.metric("meshctl_endpoint_ready") == count, f"{count} endpoints ready")


@contextmanager
def suspended(servers: Sequence[EchoServer]) -> Iterator[None]:
    """Has the servers do nothing for as long as it lasts."""
    for server in servers:
        server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.signal(signal.SIGCONT)


def shared_routes() -> list[Mapping[str, Any]]:
    return [
        {"match": {"authority": SHORT_AUTHORITY}, "cluster": "echo", "timeout_s": SHORT_TIMEOUT_S},
        *({"match": {"service": "mesh.test.Echo", "method": method}, "cluster": "echo"} for method in METHODS),
    ]


@pytest.fixture(scope="package")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """For tests that only make calls: servers "a", "b" and "c"; the routes are those of `shared_routes`."""
    with echo_servers("a", "b", "c") as servers:
        addresses = [server.address for server in servers]
        config = echo_config(*addresses, routes=shared_routes())
        with start_proxy(config, tmp_path_factory.mktemp("shared")) as proxy:
            wait_for_connections(proxy, len(servers))
            yield Stage(servers, proxy)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """For tests that stop, kill or reconfigure something: servers "a", "b" and "c" and a proxy, all new."""
    with echo_servers("a", "b", "c") as servers:
        config = echo_config(*(server.address for server in servers))
        with start_proxy(config, tmp_path) as proxy:
            wait_for_connections(proxy, len(servers))
            yield Stage(servers, proxy)
