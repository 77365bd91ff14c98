"""Resolvers: the right one for each source, what the static one says, and what an endpoint's identity is."""

import asyncio
import subprocess
import sys

import pytest

from proxy.config import ClusterConfig, parse
from proxy.discovery import EndpointAddress, Reset, make_resolver


def cluster(source: str) -> ClusterConfig:
    rest = "listeners: [{name: a, address: '[::1]:1'}]\nroutes: [{cluster: c}]\n"
    return parse(f"{rest}clusters: [{{name: c, {source}}}]").clusters[0]


@pytest.mark.asyncio
async def test_static_yields_one_reset_and_then_waits() -> None:
    resolver = make_resolver(
        cluster("static: {endpoints: [{address: '10.0.0.1:80', weight: 3, pod: p}, {address: '[::1]:81'}]}")
    )
    updates = resolver.updates()
    assert await anext(updates) == Reset((EndpointAddress("10.0.0.1", 80, 3, "p"), EndpointAddress("::1", 81)))
    second = asyncio.ensure_future(anext(updates))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second


@pytest.mark.asyncio
async def test_static_without_endpoints_is_an_empty_service() -> None:
    updates = make_resolver(cluster("static: {endpoints: []}")).updates()
    assert await anext(updates) == Reset(())
    await updates.aclose()


def test_identity_leaves_out_what_may_change_of_one_pod() -> None:
    first = EndpointAddress("10.0.0.1", 80, weight=1, pod="a", uid="1")
    assert first.identity == EndpointAddress("10.0.0.1", 80, weight=5, pod="b", uid="1").identity
    assert first.identity != EndpointAddress("10.0.0.1", 80, weight=1, pod="a", uid="2").identity


def test_a_source_is_imported_only_where_a_cluster_uses_it() -> None:
    program = """
import sys
import proxy.app
from proxy.config import parse
from proxy.discovery import make_resolver
config = parse('''
listeners: [{name: a, address: "[::1]:1"}]
clusters:
  - {name: c, static: {endpoints: []}}
  - {name: d, dns: {name: x.test, port: 1}}
  - {name: k, kubernetes: {service: x, namespace: y, port: 1}}
routes: [{cluster: c}]
''')
make_resolver(config.clusters[0])
assert "dns" not in sys.modules
make_resolver(config.clusters[1])
assert "dns" in sys.modules
assert not {"aiohttp", "kubernetes_asyncio", "proxy.discovery.kubernetes"} & set(sys.modules)
make_resolver(config.clusters[2])
assert "aiohttp" in sys.modules
from proxy.discovery.kubernetes.client import parts
assert parts().Configuration.__module__ == "kubernetes_asyncio.client.configuration"
assert not [name for name in sys.modules if name.startswith("kubernetes_asyncio")], "its models cost 39 MB"
import kubernetes_asyncio.client
assert kubernetes_asyncio.client.CoreV1Api, "whoever imports it later has it whole"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
