"""The configuration's listeners: what their keys make of each other, and which routes they leave to be followed."""

import pytest

from proxy.address import SocketAddress
from proxy.config import parse
from tests.unit.test_config import LARGE, SMALL, changed, errors_of

CLUSTERS_AND_ROUTES = SMALL[SMALL.index("clusters:") :]


def test_as_dict_shows_what_a_listeners_other_keys_make_its_default() -> None:
    plain, _, redirected, inbound, raw = parse(LARGE).as_dict()["listeners"]
    assert (plain["protocol"], plain["opaque_ports"], raw["opaque_ports"]) == ("http2", [], [])
    assert redirected["opaque_ports"] == [25, "9000-9100"]
    assert inbound["protocol"] == "detect"
    assert inbound["opaque_ports"] == [25, 587, 3306, 4444, 5432, 6379, 9300, 11211]


def test_opaque_ports_are_those_listed_to_the_ends_of_their_ranges() -> None:
    plain, _, redirected, inbound, _ = parse(LARGE).listeners
    opaque = [port for port in range(65_536) if redirected.is_opaque(port)]
    assert opaque == [25, *range(9000, 9101)]
    assert inbound.is_opaque(3306)
    assert not inbound.is_opaque(80)
    assert not plain.is_opaque(3306)


@pytest.mark.parametrize(
    ("keys", "protocol", "opaque"),
    [
        ("protocol: detect", "detect", False),
        ("protocol: http1", "http1", False),
        ("intercept: outbound", "detect", True),
        ("intercept: outbound, protocol: http2", "http2", False),
        ("intercept: outbound, protocol: tcp", "tcp", False),
        ("intercept: outbound, opaque_ports: []", "detect", False),
    ],
)
def test_a_listener_is_filled_in_by_its_other_keys(keys: str, protocol: str, opaque: bool) -> None:
    (listener,) = parse("listeners: [{name: a, address: '[::1]:1', " + keys + "}]\n" + CLUSTERS_AND_ROUTES).listeners
    assert listener.protocol == protocol
    assert listener.is_opaque(3306) is opaque


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
@pytest.mark.parametrize("rest", ["", "clusters: []\nroutes: []"])
def test_a_listener_that_intercepts_needs_no_routes_and_clusters(direction: str, rest: str) -> None:
    config = parse("listeners: [{name: a, address: '[::1]:1', intercept: " + direction + "}]\n" + rest)
    assert (config.clusters, config.routes) == ((), ())


def test_listeners_may_intercept_in_the_same_direction() -> None:
    v4, v6 = (
        f"{{name: {name}, address: '{place}', intercept: outbound}}"
        for name, place in (("a", "0.0.0.0:1"), ("b", "[::]:1"))
    )
    assert [item.name for item in parse(f"listeners: [{v4}, {v6}]").listeners] == ["a", "b"]


def test_two_listeners_may_leave_their_port_to_the_system() -> None:
    config = parse(changed('"127.0.0.1:4140"', '"[::1]:0"'))
    assert config.listeners[0].address == config.listeners[1].address == SocketAddress("::1", 0)


def test_a_route_that_no_listener_follows_is_a_mistake() -> None:
    inbound = changed('4140"}', '4140", intercept: inbound}', SMALL)
    assert errors_of(inbound) == (
        "routes[0].match: no listener follows this; one with `intercept: inbound` has to be named by `listener`",
    )
    assert parse(changed("cluster: voting", "{cluster: voting, match: {listener: outbound}}", inbound)).routes


def test_routes_without_clusters_are_wrong_beside_a_listener_that_intercepts() -> None:
    content = "listeners: [{name: a, address: '[::1]:1', intercept: outbound}]\nroutes: [{cluster: voting}]"
    assert errors_of(content) == ("routes[0].cluster: no cluster is called 'voting'; known: none",)


def test_a_wrong_listener_does_not_make_the_routes_that_name_it_wrong() -> None:
    content = changed("name: redirected", "name: a b", LARGE)
    assert [line.partition(": ")[0] for line in errors_of(content)] == ["listeners[2].name"]
