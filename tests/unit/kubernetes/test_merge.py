"""What endpoints a Service's slices amount to, rule by rule."""

import pytest

from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.kubernetes.stage import filled, find, hosts

VOTING = "voting.emojivote:8080"


def test_slices_are_merged_and_an_address_in_two_of_them_is_one_endpoint() -> None:
    catalog = filled(
        service(),
        endpoint_slice("a", endpoint("10.1.0.1", "v-1"), endpoint("10.1.0.2", "v-2")),
        endpoint_slice("b", endpoint("10.1.0.2", "v-2"), endpoint("10.1.0.3", "v-3")),
        endpoint_slice("other", endpoint("10.1.0.9", "o-1"), service="other"),
        endpoint_slice("elsewhere", endpoint("10.1.0.8", "e-1"), namespace="elsewhere"),
    )
    assert hosts(find(catalog, VOTING)) == ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]


@pytest.mark.parametrize("first", [True, False])
def test_of_the_same_address_twice_the_better_state_counts(first: bool) -> None:
    """While an address passes from one pod to another, both may be listed."""
    old = endpoint("10.1.0.1", "old", ready=False, serving=True, terminating=True)
    new = endpoint("10.1.0.1", "new")
    one, two = (old, new) if first else (new, old)
    target = find(filled(service(), endpoint_slice("a", one), endpoint_slice("b", two)), VOTING)
    assert target is not None
    assert [member.endpoint.pod for member in target.members] == ["new"]


def test_ready_ones_come_first_then_those_that_serve_while_they_terminate() -> None:
    leaving = endpoint("10.1.0.1", "v-1", ready=False, serving=True, terminating=True)
    gone = endpoint("10.1.0.2", "v-2", ready=False, serving=False, terminating=True)
    starting = endpoint("10.1.0.3", "v-3", ready=False, serving=False, terminating=False)
    ready = endpoint("10.1.0.4", "v-4")
    everything = filled(service(), endpoint_slice("a", leaving, gone, starting, ready))
    assert hosts(find(everything, VOTING)) == ["10.1.0.4:8080"]
    assert hosts(find(filled(service(), endpoint_slice("a", leaving, gone, starting)), VOTING)) == ["10.1.0.1:8080"]
    assert hosts(find(filled(service(), endpoint_slice("a", gone, starting)), VOTING)) == []


def test_conditions_that_are_not_said_mean_ready() -> None:
    bare = {"addresses": ["10.1.0.1"], "conditions": {}}
    nothing = {"addresses": ["10.1.0.2"]}
    null = {"addresses": ["10.1.0.3"], "conditions": {"ready": None, "serving": None, "terminating": None}}
    target = find(filled(service(), endpoint_slice("a", bare, nothing, null)), VOTING)
    assert hosts(target) == ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]


def test_a_named_target_port_may_differ_from_pod_to_pod() -> None:
    catalog = filled(
        service(ports=[{"name": "grpc", "port": 80}, {"name": "prom", "port": 9090}]),
        endpoint_slice("a", endpoint("10.1.0.1"), ports=[{"name": "grpc", "port": 8080}]),
        endpoint_slice("b", endpoint("10.1.0.2"), ports=[{"name": "grpc", "port": 9000}, {"name": "prom", "port": 1}]),
    )
    assert hosts(find(catalog, "voting.emojivote:80")) == ["10.1.0.1:8080", "10.1.0.2:9000"]
    assert hosts(find(catalog, "voting.emojivote:9090")) == ["10.1.0.2:1"]


def test_only_tcp_ports_count() -> None:
    udp = {"name": "grpc", "port": 8080, "protocol": "UDP"}
    assert hosts(find(filled(service(ports=[udp])), VOTING)) is None
    assert hosts(find(filled(service(), endpoint_slice("a", endpoint("10.1.0.1"), ports=[udp])), VOTING)) == []


def test_a_pod_in_both_families_is_one_endpoint_in_the_services_primary_family() -> None:
    four = endpoint_slice("four", endpoint("10.1.0.1", "v-1"), endpoint("10.1.0.2", "v-2"))
    six = endpoint_slice("six", endpoint("fd00::1", "v-1"), endpoint("fd00::3", "v-3"), family="IPv6")
    ipv4_first = filled(service(ips=["10.96.0.1", "fd96::1"]), four, six)
    assert hosts(find(ipv4_first, VOTING)) == ["10.1.0.1:8080", "10.1.0.2:8080", "fd00::3:8080"]
    ipv6_first = filled(service(ips=["fd96::1", "10.96.0.1"]), four, six)
    assert hosts(find(ipv6_first, VOTING)) == ["10.1.0.2:8080", "fd00::1:8080", "fd00::3:8080"]


def test_hints_count_only_if_every_ready_endpoint_has_one_and_one_is_for_the_zone() -> None:
    a = endpoint("10.1.0.1", "v-1", zone="a", zones=["a"])
    b = endpoint("10.1.0.2", "v-2", zone="b", zones=["b", "c"])
    bare = endpoint("10.1.0.3", "v-3", zone="b")
    leaving = endpoint("10.1.0.4", "v-4", ready=False, serving=True, terminating=True)
    hinted = filled(service(), endpoint_slice("a", a, b, leaving))
    assert hosts(find(hinted, VOTING, zone="a")) == ["10.1.0.1:8080"]
    assert hosts(find(hinted, VOTING, zone="c")) == ["10.1.0.2:8080"]
    assert hosts(find(hinted, VOTING, zone="d")) == ["10.1.0.1:8080", "10.1.0.2:8080"]
    assert hosts(find(hinted, VOTING)) == ["10.1.0.1:8080", "10.1.0.2:8080"]
    mixed = find(filled(service(), endpoint_slice("a", a, b, bare)), VOTING, zone="a")
    assert hosts(mixed) == ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]
    assert mixed is not None
    assert [member.endpoint.zone for member in mixed.members] == ["a", "b", "b"]


def test_a_headless_service_takes_its_pods_ports_too() -> None:
    catalog = filled(
        service(ips=[], ports=[{"name": "grpc", "port": 80}]),
        endpoint_slice("a", endpoint("10.1.0.1", "v-1")),
        service("bare", ips=[], ports=[]),
        endpoint_slice("b", endpoint("10.1.0.2", "b-1"), service="bare", ports=None),
    )
    assert hosts(find(catalog, "voting.emojivote:80")) == ["10.1.0.1:8080"]
    assert hosts(find(catalog, "voting.emojivote:8080")) == ["10.1.0.1:8080"]
    assert hosts(find(catalog, "voting.emojivote:9")) == []
    assert hosts(find(catalog, "bare.emojivote:1234")) == ["10.1.0.2:1234"]


def test_a_pods_name_and_uid_come_from_its_reference_and_from_no_other_kinds() -> None:
    node = {"addresses": ["10.1.0.2"], "targetRef": {"kind": "Node", "name": "n", "uid": "u"}}
    target = find(filled(service(), endpoint_slice("a", endpoint("10.1.0.1", "v-1"), node)), VOTING)
    assert target is not None
    addresses = [member.address for member in target.members]
    assert [(each.pod, each.uid) for each in addresses] == [("v-1", "uid-v-1"), ("", "")]


@pytest.mark.parametrize(
    ("said", "protocol"),
    [
        ("grpc", "http2"),
        ("kubernetes.io/h2c", "http2"),
        ("http", "http1"),
        ("tcp", "tcp"),
        ("kubernetes.io/ws", "detect"),
        ("", "detect"),
    ],
)
def test_app_protocol_says_what_is_spoken_and_an_opaque_port_overrides_it(said: str, protocol: str) -> None:
    port = {"name": "grpc", "port": 80, "appProtocol": said}
    pods = endpoint_slice("a", endpoint("10.1.0.1"))
    for items in (
        [service(ports=[port]), pods],
        [service(ports=[{"name": "grpc", "port": 80}]), endpoint_slice("a", ports=[{**port, "port": 8080}])],
    ):
        target = find(filled(*items), "voting.emojivote:80")
        assert target is not None
        assert target.protocol == protocol
    for opaque in ("80", "8080", "1, 8000-9000"):
        marked = service(ports=[port], annotations={"config.meshctl.io/opaque-ports": opaque})
        for authority in ("voting.emojivote:80", "10.1.0.1:8080"):
            target = find(filled(marked, pods), authority)
            assert target is not None
            assert target.protocol == "tcp"


def test_what_makes_no_sense_is_left_out_and_the_rest_stays() -> None:
    broken = endpoint_slice("a", endpoint("10.1.0.1", "v-1"))
    broken["endpoints"] += [None, "x", {}, {"addresses": []}, {"addresses": ["nonsense"]}, {"addresses": None}]
    broken["endpoints"].append({"addresses": ["10.1.0.2"], "conditions": [], "targetRef": 5, "hints": "x"})
    broken["ports"] += [None, {"name": "grpc", "port": 0}, {"name": "grpc", "port": "8080"}, {"port": True}]
    wrong = "0, 70000, 9-1, -, x, ,8080x"
    target = find(filled(service(annotations={"config.meshctl.io/opaque-ports": wrong}), broken), VOTING)
    assert hosts(target) == ["10.1.0.1:8080", "10.1.0.2:8080"]
    assert target is not None
    assert target.protocol == "detect"
