"""The route table: which route a call or a connection takes, by where it comes from, its name, path and protocol."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proxy.config import parse
from proxy.routes import Target, route_table

LISTENERS = """
listeners:
  - {name: direct, address: "127.0.0.1:1"}
  - {name: outbound, address: "127.0.0.1:2", intercept: outbound}
  - {name: inbound, address: "127.0.0.1:3", intercept: inbound}
clusters:
  - {name: a, static: {endpoints: []}}
  - {name: b, protocol: detect, static: {endpoints: []}}
routes:
"""

Resolve = Callable[..., Target | None]


def table(*routes: str) -> Resolve:
    """A route table over clusters "a" and "b", whose Clusters are texts such as "a over http2".

    What is asked is by default a gRPC call at "direct"; keywords say what is different.
    """
    config = parse(LISTENERS + "".join(f"  - {route}\n" for route in routes))
    inbound = {listener.name for listener in config.listeners if listener.intercept == "inbound"}
    clusters: Mapping[str, Callable[[str], Any]] = {
        cluster.name: lambda wire, name=cluster.name: f"{name} over {wire}" for cluster in config.clusters
    }
    resolve = route_table(config.routes, clusters, inbound)

    def asked(
        listener: str = "direct",
        destination: str = "",
        authority: str = "x.test:8080",
        path: str = "/p.S/M",
        protocol: str = "grpc",
    ) -> Target | None:
        return resolve(listener, destination, authority, path, protocol)

    return asked


def tcp(resolve: Resolve, **what: str) -> Target | None:
    """Asks for a TCP connection, one without TLS's server name if `authority` does not say it."""
    return resolve(**{"authority": "", "path": "", "protocol": "tcp", **what})


A = ([("a over http2", 1)], None)
B = ([("b over http2", 1)], None)


# ---- what is handed out ----


@pytest.mark.parametrize(("protocol", "wire"), [("grpc", "http2"), ("http2", "http2"), ("http1", "http1")])
def test_a_cluster_is_asked_for_by_the_protocol_on_the_wire(protocol: str, wire: str) -> None:
    assert table("cluster: a")(protocol=protocol) == ([(f"a over {wire}", 1)], None)


def test_a_cluster_is_asked_for_by_tcp() -> None:
    assert tcp(table("cluster: a")) == ([("a over tcp", 1)], None)


def test_weights_and_the_time_limit_are_handed_out_and_weight_0_is_not() -> None:
    resolve = table("{clusters: {a: 90, b: 10}, match: {path_prefix: /x}, timeout_s: 2}", "clusters: {a: 0, b: 3}")
    assert resolve(path="/x/y") == ([("a over http2", 90), ("b over http2", 10)], 2)
    assert resolve() == ([("b over http2", 3)], None)


def test_what_no_route_matches_has_no_target() -> None:
    resolve = table("{cluster: a, match: {authority: other.test}}")
    assert resolve() is None
    assert tcp(resolve) is None


def test_a_table_without_routes_leads_nowhere() -> None:
    resolve = route_table((), {}, ())
    assert resolve("outbound", "10.0.0.1:80", "x.test", "/", "http1") is None


# ---- precedence ----


def test_the_first_route_that_matches_wins() -> None:
    assert table("{cluster: a, match: {path_prefix: /}}", "cluster: b")() == A
    assert table("cluster: b", "{cluster: a, match: {service: p.S, method: M}}")() == B
    assert table("{cluster: a, match: {path_prefix: /other}}", "cluster: b")() == B


# ---- where it comes from ----


def test_a_route_without_a_listener_is_followed_by_all_but_inbound_ones() -> None:
    resolve = table("cluster: a")
    assert resolve(listener="direct") == resolve(listener="outbound") == A
    assert resolve(listener="inbound") is None
    assert tcp(resolve, listener="inbound") is None


def test_a_route_with_a_listener_is_followed_by_that_one_only() -> None:
    resolve = table("{cluster: a, match: {listener: inbound}}", "{cluster: b, match: {listener: outbound}}")
    assert resolve(listener="inbound") == A
    assert resolve(listener="outbound") == B
    assert resolve(listener="direct") is None
    assert tcp(resolve, listener="inbound") == ([("a over tcp", 1)], None)


@pytest.mark.parametrize(
    ("written", "same", "other"),
    [
        ("10.96.0.1:80", "10.96.0.1:80", ["10.96.0.1:8080", "10.96.0.2:80", "10.96.0.1:8", ""]),
        ("[FD00:0::1]:80", "[fd00::1]:80", ["[fd00::1]:8080", "[fd00::2]:80", "fd00::1:80", ""]),
    ],
)
def test_a_destination_is_an_address_and_a_port(written: str, same: str, other: list[str]) -> None:
    resolve = table(f"{{cluster: a, match: {{destination: '{written}'}}}}")
    assert resolve(listener="outbound", destination=same) == A
    assert tcp(resolve, listener="outbound", destination=same) == ([("a over tcp", 1)], None)
    assert [resolve(listener="outbound", destination=place) for place in other] == [None] * len(other)


def test_all_keys_of_a_match_must_hold() -> None:
    resolve = table(
        "{cluster: a, match: {listener: outbound, destination: '10.0.0.1:80', authority: x.test, path_prefix: /x}}"
    )
    right = {"listener": "outbound", "destination": "10.0.0.1:80", "authority": "x.test", "path": "/x"}
    assert resolve(**right) == A
    wrong = {"listener": "direct", "destination": "10.0.0.1:81", "authority": "y.test", "path": "/y"}
    for name, value in wrong.items():
        assert resolve(**{**right, name: value}) is None


# ---- authorities ----


@pytest.mark.parametrize(
    ("written", "asked", "same"),
    [
        ("x.test:8080", "x.test:8080", True),
        ("x.test:8080", "X.Test:8080", True),
        ("X.test", "x.TEST", True),
        ("x.test:8080", "x.test.:8080", True),
        ("x.test", "x.test.", True),
        ("x.test.:8080", "x.test:8080", True),
        ("x.test", "x.test:8080", False),
        ("x.test:8080", "x.test", False),
        ("x.test:8080", "x.test:808", False),
        ("x.test:80", "x.test:80.", False),
        ("x.test", "x.test..", False),
        ("x.test", "ax.test", False),
        ("x.test", "", False),
        ("[::1]:8080", "[::1]:8080", True),
        ("[::1]", "[::1]", True),
        ("[::1]", "[::1]:8080", False),
        ("[::]", "[::1]", False),
        ("10.0.0.1:80", "10.0.0.1:80", True),
    ],
)
def test_an_authority_is_compared_as_a_whole_but_for_case_and_the_last_dot(
    written: str, asked: str, same: bool
) -> None:
    resolve = table(f"{{cluster: a, match: {{authority: '{written}'}}}}")
    for protocol in ("grpc", "http2", "http1"):
        assert (resolve(authority=asked, protocol=protocol) is not None) is same


@pytest.mark.parametrize("authority", ["\n", ":\n80", ":" * 5000, "." * 5000, ":80", "\xff:80", ".", "[", "x:²"])
def test_any_authority_has_an_answer(authority: str) -> None:
    resolve = table("{cluster: a, match: {authority: x.test}}", "cluster: b")
    assert resolve(authority=authority) == B
    assert tcp(resolve, authority=authority) == ([("b over tcp", 1)], None)


# ---- paths ----


@pytest.mark.parametrize(
    ("match", "path", "takes"),
    [
        ("path_prefix: /p.S", "/p.S/M", True),
        ("path_prefix: /p.S/M", "/p.S", False),
        ("path_prefix: /P.S", "/p.S/M", False),
        ("service: p.S", "/p.S/M", True),
        ("service: p.S", "/p.S2/M", False),
        ("service: p.S", "/p.S", False),
        ("service: p", "/p.S/M", False),
        ("service: p.S, method: M", "/p.S/M", True),
        ("service: p.S, method: M", "/p.S/M2", False),
        ("service: p.S, method: M", "/p.S/M/x", False),
    ],
)
def test_a_path_is_compared_from_its_beginning_and_a_method_exactly(match: str, path: str, takes: bool) -> None:
    assert table(f"{{cluster: a, match: {{{match}}}}}")(path=path) == (A if takes else None)


@pytest.mark.parametrize(("protocol", "takes"), [("grpc", True), ("http2", False), ("http1", False)])
def test_a_service_is_one_of_grpc_and_a_path_of_all_http(protocol: str, takes: bool) -> None:
    assert (table("{cluster: a, match: {service: p.S}}")(protocol=protocol) is not None) is takes
    assert table("{cluster: a, match: {path_prefix: /p.S/}}")(protocol=protocol) is not None


# ---- TCP ----


@pytest.mark.parametrize("match", ["path_prefix: /", "service: p.S", "service: p.S, method: M"])
def test_tcp_passes_over_routes_that_look_at_requests(match: str) -> None:
    resolve = table(f"{{cluster: a, match: {{{match}}}}}", f"{{cluster: a, match: {{authority: x.test, {match}}}}}")
    assert tcp(resolve) is None
    assert tcp(resolve, authority="x.test") is None


@pytest.mark.parametrize(
    ("server_name", "takes"),
    [("x.test", True), ("X.TEST", True), ("x.test.", True), ("y.test", False), ("test", False), ("", False)],
)
@pytest.mark.parametrize("written", ["x.test", "x.test:443", "X.test.:8443"])
def test_the_host_of_an_authority_is_compared_with_tlss_server_name(
    written: str, server_name: str, takes: bool
) -> None:
    resolve = table(f"{{cluster: a, match: {{authority: '{written}'}}}}", "cluster: b")
    assert tcp(resolve, authority=server_name) == ([(f"{'a' if takes else 'b'} over tcp", 1)], None)


@pytest.mark.parametrize(
    ("written", "destination", "takes"),
    [
        ("x.test:8443", "10.0.0.1:8443", True),
        ("x.test:8443", "10.0.0.1:50443", False),
        ("x.test:8443", "[fd00::1]:8443", True),
        ("x.test", "10.0.0.1:50443", True),
        ("x.test:8443", "", True),
    ],
)
def test_the_port_of_an_authority_is_compared_with_where_tls_was_going(
    written: str, destination: str, takes: bool
) -> None:
    resolve = table(f"{{cluster: a, match: {{authority: '{written}'}}}}", "cluster: b")
    found = tcp(resolve, authority="x.test", destination=destination)
    assert found == ([(f"{'a' if takes else 'b'} over tcp", 1)], None)
