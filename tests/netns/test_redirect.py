"""What the rules do to connections: a witness stands in for the proxy and tells where each wanted to go."""

from typing import Any

import pytest

from injector.iptables import BACKENDS
from tests.netns.network import Network, Service
from tests.netns.pod import PROXY_UID, Pod

APP_PORT = 8080


class Scene:
    """A pod behind interception, a plain one, and a service over the plain one; addresses in one family."""

    def __init__(self, network: Network, family: int, *options: str) -> None:
        self.family = family
        self.meshed, self.plain = network.pod("meshed"), network.pod("plain")
        self.meshed.start_witness(4140, 4143, uid=PROXY_UID)
        self.meshed.start_witness(APP_PORT, 4191, 9005, 22)
        self.plain.start_witness(APP_PORT, 9005, 25)
        self.service = network.service(80, [self.plain], target_port=APP_PORT)
        self.meshed.intercept(*options)

    def authority(self, to: Pod | Service, port: int) -> str:
        return f"[{to.ipv6}]:{port}" if self.family == 6 else f"{to.ipv4}:{port}"

    def ask(self, asking: Pod, to: Pod | Service, port: int, **user: int) -> Any:
        return asking.ask(f"http://{self.authority(to, port)}/", **user)


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest, network: Network) -> int:
    if request.param == 6 and not network.ipv6:
        pytest.skip("this kernel runs without IPv6")
    return int(request.param)


@pytest.fixture
def scene(network: Network, family: int) -> Scene:
    return Scene(network, family)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inbound_and_outbound_reach_the_proxy_with_their_original_destination(
    network: Network, family: int, backend: str
) -> None:
    scene = Scene(network, family, "--backend", backend)
    inbound = scene.ask(scene.plain, scene.meshed, APP_PORT)
    assert (inbound["port"], inbound["original"]) == (4143, scene.authority(scene.meshed, APP_PORT))
    assert inbound["peer"] == (scene.plain.ipv6 if family == 6 else scene.plain.ipv4)
    outbound = scene.ask(scene.meshed, scene.service, 80)
    assert (outbound["port"], outbound["original"]) == (4140, scene.authority(scene.service, 80))
    direct = scene.ask(scene.meshed, scene.plain, APP_PORT)
    assert (direct["port"], direct["original"]) == (4140, scene.authority(scene.plain, APP_PORT))


def test_what_the_proxy_sends_is_left_out(scene: Scene) -> None:
    assert scene.ask(scene.meshed, scene.service, 80, uid=PROXY_UID)["name"] == "plain"
    # A call that was balanced to its own pod, and one from the inbound side to the application.
    assert scene.ask(scene.meshed, scene.meshed, APP_PORT, uid=PROXY_UID)["port"] == APP_PORT


def test_loopback_and_the_pods_own_address_are_left_out(scene: Scene) -> None:
    loopback = "[::1]" if scene.family == 6 else "127.0.0.1"
    assert scene.meshed.ask(f"http://{loopback}:{APP_PORT}/")["port"] == APP_PORT
    assert scene.ask(scene.meshed, scene.meshed, APP_PORT)["port"] == APP_PORT


def test_a_service_over_its_own_pod_goes_through_the_proxy(network: Network, scene: Scene) -> None:
    service = network.service(81, [scene.meshed], target_port=APP_PORT)
    answer = scene.ask(scene.meshed, service, 81)
    assert (answer["port"], answer["original"]) == (4140, scene.authority(service, 81))


def test_the_admin_port_is_left_out_inbound(scene: Scene) -> None:
    assert scene.ask(scene.plain, scene.meshed, 4191)["port"] == 4191


def test_ports_are_left_out_in_their_direction_only(network: Network, family: int) -> None:
    scene = Scene(network, family, "--skip-inbound-ports=22,9000-9010", "--skip-outbound-ports=25")
    assert [scene.ask(scene.plain, scene.meshed, port)["port"] for port in (22, 9005, APP_PORT)] == [22, 9005, 4143]
    assert [scene.ask(scene.meshed, scene.plain, port)["port"] for port in (25, 9005)] == [25, 4140]


@pytest.mark.parametrize(("way", "inbound", "outbound"), [("inbound", APP_PORT, 4140), ("outbound", 4143, APP_PORT)])
def test_subnets_are_left_out_in_their_direction_only(
    network: Network, family: int, way: str, inbound: int, outbound: int
) -> None:
    scene = Scene(network, family, f"--skip-{way}-subnets=10.201.0.0/24,fd00:201::/32")
    assert scene.ask(scene.plain, scene.meshed, APP_PORT)["port"] == inbound
    assert scene.ask(scene.meshed, scene.plain, APP_PORT)["port"] == outbound


def test_without_a_proxy_connections_are_refused_and_after_removal_they_go_through(
    network: Network, family: int
) -> None:
    scene = Scene(network, family, "--outbound-port=4999")
    with pytest.raises(AssertionError, match="connect"):
        scene.ask(scene.meshed, scene.service, 80)
    scene.meshed.intercept("--remove")
    assert scene.ask(scene.meshed, scene.service, 80)["name"] == "plain"
    assert scene.ask(scene.plain, scene.meshed, APP_PORT)["port"] == APP_PORT
