"""Each balancer in a running proxy: where the calls of one connection go."""

import contextlib
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Stage, echo_config, wait_for_connections
from tests.support.echo import EchoClient, echo_servers, server_of
from tests.support.ports import free_address
from tests.support.process import start_proxy

TIMEOUT_S = 30


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def answers(address: str, calls: int, in_flight: int) -> Counter[str]:
    """How many of `calls` each server answered, `in_flight` at a time on one connection."""
    answered_by: Counter[str] = Counter()
    with EchoClient(address) as client:
        for _ in range(calls // in_flight):
            batch = [client.unary.future(b"", timeout=TIMEOUT_S) for _ in range(in_flight)]
            answered_by.update(server_of(call) for call in batch)
    return answered_by


@pytest.mark.parametrize("balancer", ["peak_ewma", "least_request", "round_robin", "random"])
def test_every_balancer_uses_every_server(stage: Stage, tmp_path: Path, balancer: str) -> None:
    config = echo_config(*(server.address for server in stage.servers))
    config["clusters"][0]["balancer"] = balancer
    directory = tmp_path / balancer
    directory.mkdir()
    with start_proxy(config, directory) as proxy:
        wait_for_connections(proxy, 3)
        answered_by = answers(proxy.listener("outbound"), 600, 20)
    assert answered_by.total() == 600
    assert set(answered_by) == {"a", "b", "c"}
    if balancer == "round_robin":
        assert max(answered_by.values()) - min(answered_by.values()) <= 1


def test_round_robin_follows_the_weights(tmp_path: Path) -> None:
    with echo_servers("light", "heavy") as (light, heavy):
        config = echo_config(light.address, heavy.address)
        config["clusters"][0]["balancer"] = "round_robin"
        config["clusters"][0]["static"]["endpoints"][1]["weight"] = 3
        with start_proxy(config, tmp_path) as proxy:
            wait_for_connections(proxy, 2)
            assert answers(proxy.listener("outbound"), 400, 20) == {"light": 100, "heavy": 300}


def test_a_route_shares_its_calls_between_clusters_by_weight(tmp_path: Path) -> None:
    with echo_servers("stable", "canary") as servers:
        names = [server.name.removeprefix("server ") for server in servers]
        config = echo_config()
        config["clusters"] = [
            {"name": name, "static": {"endpoints": [{"address": server.address}]}}
            for name, server in zip(names, servers, strict=True)
        ]
        config["routes"] = [{"clusters": {"stable": 80, "canary": 20}}]
        with start_proxy(config, tmp_path) as proxy:
            answered_by = answers(proxy.listener("outbound"), 1000, 20)
    assert answered_by.total() == 1000
    assert 120 < answered_by["canary"] < 280, answered_by


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on loopback")
def test_ipv6_on_both_sides(tmp_path: Path) -> None:
    with echo_servers("six", address=free_address("::1")) as (server,):
        config = echo_config(server.address)
        config["listeners"][0]["address"] = free_address("::1")
        with start_proxy(config, tmp_path) as proxy:
            assert answers(proxy.listener("outbound"), 20, 5) == {"six": 20}
            assert proxy.metric("meshctl_request_total", endpoint=server.address) == 20
