"""What a sidecar is told of the names it asks for."""

import pytest

from proxy.discovery.kubernetes.catalog import Catalog
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.endpoints.stage import INVALID_ARGUMENT, NOT_FOUND, Row, served, sidecar
from tests.unit.kubernetes.stage import filled

pytestmark = pytest.mark.asyncio

VOTING: list[Row] = [
    ("a", "10.1.0.2", 8080, "v-2", "uid-v-2", "detect"),
    ("b", "10.1.0.1", 8080, "v-1", "uid-v-1", "detect"),
]


def cluster() -> Catalog:
    return filled(
        service(ports=[{"name": "grpc", "port": 8080}, {"name": "http", "port": 80}], ips=["10.96.0.1", "fd00:96::1"]),
        endpoint_slice(
            "v",
            endpoint("10.1.0.1", "v-1", zone="b", zones=["b"]),
            endpoint("10.1.0.2", "v-2", zone="a", zones=["a"]),
            ports=[{"name": "grpc", "port": 8080}, {"name": "http", "port": 8000}],
        ),
        service("web", ips=[], ports=[]),
        endpoint_slice("w", endpoint("fd00:1::7", "w-1"), service="web", ports=[], family="IPv6"),
        service("empty", ips=["10.96.0.3"]),
        service("mail", ports=[{"name": "smtp", "port": 25}], annotations={"config.meshctl.io/opaque-ports": "25"}),
        endpoint_slice("m", endpoint("10.1.0.9", "m-1"), service="mail", ports=[{"name": "smtp", "port": 2525}]),
        service("books", ports=[{"name": "", "port": 80, "appProtocol": "kubernetes.io/h2c"}], ips=["10.96.0.4"]),
        endpoint_slice("b", endpoint("10.1.0.5", "b-1"), service="books", ports=[{"name": "", "port": 9000}]),
    )


@pytest.mark.parametrize(
    "name",
    [
        "voting:8080",
        "voting.emojivote:8080",
        "voting.emojivote.svc:8080",
        "voting.emojivote.svc.cluster.local:8080",
        "voting.emojivote.svc.cluster.local.:8080",
        "10.96.0.1:8080",
        "[fd00:96::1]:8080",
        "[fd00:96:0::1]:8080",
    ],
)
async def test_a_service_is_found_by_every_form_of_its_name_and_by_its_addresses(name: str) -> None:
    async with served(cluster()) as it, sidecar(it, name) as web:
        await web.read()
        assert web.has == {name: VOTING}


async def test_a_name_without_a_port_means_port_80_and_that_the_pods_port_of_that_name() -> None:
    async with served(cluster()) as it, sidecar(it, "voting", "voting.emojivote:80") as web:
        await web.read()
        assert [row[1:3] for row in web.has["voting"]] == [("10.1.0.2", 8000), ("10.1.0.1", 8000)]
        assert web.has["voting"] == web.has["voting.emojivote:80"]


async def test_the_shortest_form_is_looked_for_in_the_sidecars_namespace() -> None:
    async with served(cluster()) as it:
        for namespace, expected in (("emojivote", VOTING), ("other", NOT_FOUND), ("", NOT_FOUND)):
            async with sidecar(it, "voting:8080", namespace=namespace) as web:
                await web.read()
                assert web.has == {"voting:8080": expected}


async def test_a_pod_is_found_by_its_own_address_and_port() -> None:
    async with served(cluster()) as it, sidecar(it, "10.1.0.1:8080", "10.1.0.1:9", "[fd00:1::7]:443") as web:
        await web.read()
        assert web.has == {
            "10.1.0.1:8080": [("b", "10.1.0.1", 8080, "v-1", "uid-v-1", "detect")],
            "10.1.0.1:9": NOT_FOUND,
            "[fd00:1::7]:443": NOT_FOUND,
        }


async def test_a_headless_service_has_its_pods_at_whichever_port_is_called() -> None:
    async with served(cluster()) as it, sidecar(it, "web:443") as web:
        await web.read()
        assert web.has == {"web:443": [("", "fd00:1::7", 443, "w-1", "uid-w-1", "detect")]}


async def test_what_a_port_speaks_is_said_with_each_endpoint() -> None:
    async with served(cluster()) as it, sidecar(it, "mail:25", "books", "10.1.0.5:9000") as web:
        await web.read()
        assert {name: [row[5] for row in found] for name, found in web.has.items() if isinstance(found, list)} == {
            "mail:25": ["tcp"],
            "books": ["http2"],
            "10.1.0.5:9000": ["http2"],
        }


async def test_a_service_without_pods_exists_and_is_empty() -> None:
    async with served(cluster()) as it, sidecar(it, "empty:8080") as web:
        await web.read()
        assert web.has == {"empty:8080": []}


@pytest.mark.parametrize(
    "name",
    [
        "example.com:443",
        "www.example.com:443",
        "voting.other:8080",
        "voting:8081",
        "192.0.2.1:80",
        "[2001:db8::1]:80",
        "2001:db8::1",
        "web_1:80",
        "10.1.0.1.:80",
    ],
)
async def test_what_is_no_service_or_pod_of_ours_is_not_found(name: str) -> None:
    async with served(cluster()) as it, sidecar(it, name) as web:
        await web.read()
        assert web.has == {name: NOT_FOUND}


@pytest.mark.parametrize(
    "name",
    [
        *("", "*", "a b", "a" * 100_000, "a." * 140 + "a", "\x00", "é:80", "http://a", "-a:80", "a..b:80"),
        *("voting:", "voting:0", "voting:65536", "voting:http", "voting:8080/", "voting:²", "voting\n:80", ":80"),
        *("[voting]:80", "[fd00::1:80", "fd00::1]:80"),
    ],
)
async def test_what_is_no_authority_is_an_invalid_argument_and_the_others_are_answered(name: str) -> None:
    async with served(cluster()) as it, sidecar(it, name, "voting:8080") as web:
        await web.read()
        assert web.has == {name: INVALID_ARGUMENT, "voting:8080": VOTING}


async def test_a_sidecars_zone_chooses_endpoints_by_their_hints() -> None:
    async with served(cluster()) as it:
        for zone, expected in (("a", VOTING[:1]), ("b", VOTING[1:]), ("c", VOTING)):
            async with sidecar(it, "voting:8080", zone=zone) as web:
                await web.read()
                assert web.has == {"voting:8080": expected}


async def test_two_replicas_give_the_same_bytes_whatever_came_in_which_order() -> None:
    objects = [
        service(),
        endpoint_slice("a", *(endpoint(f"10.1.0.{n}", f"v-{n}", zone=f"z{n % 3}") for n in range(1, 9))),
        endpoint_slice("b", *(endpoint(f"10.1.1.{n}", f"w-{n}", zone=f"z{n % 2}") for n in range(1, 9))),
    ]
    one, other = filled(*objects), filled(*reversed(objects))
    names = ("voting:8080", "10.96.0.1:8080", "10.1.0.3:8080")
    async with served(one) as first, served(other) as second, sidecar(first, *names) as a, sidecar(second, *names) as b:
        first_said, second_said = await a.read(), await b.read()
        assert set(a.raw) == set(names)
        assert first_said.SerializeToString(deterministic=True) == second_said.SerializeToString(deterministic=True)
        assert a.raw == b.raw


async def test_it_serves_on_ipv6_too() -> None:
    async with served(cluster(), host="::1") as it, sidecar(it, "voting:8080") as web:
        await web.read()
        assert web.has == {"voting:8080": VOTING}
