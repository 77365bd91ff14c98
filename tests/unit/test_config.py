"""The configuration: what a file may say, what each mistake is called, and that reading never does worse."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import overrides
from proxy.address import NamedAddress, SocketAddress
from proxy.config import ConfigError, DiscoveryConfig, load, parse

SMALL = """
listeners:
  - {name: outbound, address: "127.0.0.1:4140"}
clusters:
  - name: voting
    static: {endpoints: [{address: "127.0.0.1:50051"}]}
routes:
  - cluster: voting
"""

LARGE = (Path(__file__).parent / "config_large.yaml").read_text()


def errors_of(content: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(content, environment)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def changed(old: str, new: str, content: str = LARGE) -> str:
    assert content.count(old) == 1, f"{old!r} must be in the file once"
    return content.replace(old, new)


# ---- what a right file becomes ----


def test_a_small_file_is_filled_in_with_the_defaults() -> None:
    config = parse(SMALL)
    assert str(config.admin.address) == "127.0.0.1:4191"
    assert config.access_log is None
    assert config.shutdown_grace_s == 30
    assert dataclasses.astuple(config.limits) == (100, 65_536, 1000, 10, 10)
    (listener,) = config.listeners
    assert (listener.intercept, listener.protocol, listener.opaque_ports) == (None, "http2", ())
    (cluster,) = config.clusters
    assert (cluster.balancer, cluster.protocol) == ("peak_ewma", "http2")
    assert (cluster.connect_timeout_s, cluster.failfast_s) == (1, 3)
    assert (cluster.max_pending, cluster.max_connections_per_endpoint) == (100, 10)
    assert dataclasses.astuple(cluster.ewma) == (10, 0.03, 5)
    assert cluster.dns is None
    assert cluster.static is not None
    (endpoint,) = cluster.static.endpoints
    assert endpoint.address == SocketAddress("127.0.0.1", 50051)
    assert (endpoint.weight, endpoint.pod) == (1, "")
    (route,) = config.routes
    assert set(dataclasses.astuple(route.match)) == {None}
    assert (route.targets, route.timeout_s) == ((("voting", 1),), None)


def test_a_large_file_says_what_it_says() -> None:
    config = parse(LARGE)
    assert config.admin.address == SocketAddress("::1", 4191)
    assert config.access_log is not None
    assert config.access_log.path == "-"
    assert (config.limits.header_timeout_s, config.limits.detect_timeout_s) == (2.5, 3)
    assert str(config.listeners[1].address) == "[::1]:0"
    assert [(item.name, item.intercept, item.protocol) for item in config.listeners] == [
        ("outbound", None, "http2"),
        ("outbound6", None, "http2"),
        ("redirected", "outbound", "detect"),
        ("inbound", "inbound", "detect"),
        ("raw", None, "tcp"),
    ]
    voting, canary, database = config.clusters
    assert [item.protocol for item in config.clusters] == ["http2", "detect", "tcp"]
    assert (database.static is not None, database.dns) == (True, None)
    assert voting.static is not None
    assert [str(item.address) for item in voting.static.endpoints] == ["127.0.0.1:50051", "[::1]:50051"]
    assert voting.static.endpoints[0].pod == "voting-1"
    assert canary.dns is not None
    assert (canary.dns.port, canary.dns.min_refresh_s, canary.dns.max_refresh_s) == (8080, 1, 5)
    assert canary.dns.nameservers == (SocketAddress("10.0.0.1", 53), SocketAddress("::1", 53))
    first, second, third, _ = config.routes
    assert (third.match.listener, third.match.destination) == ("redirected", SocketAddress("10.96.3.7", 5432))
    assert first.targets == (("voting", 90), ("voting-canary", 10))
    assert (first.match.service, first.match.method, first.timeout_s) == (
        "emojivoto.v1.VotingService",
        "Vote",
        0.5,
    )
    assert (second.match.path_prefix, second.targets) == ("/static", (("voting-canary", 1),))


def test_a_config_cannot_be_changed_and_two_readings_are_equal() -> None:
    config = parse(LARGE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.shutdown_grace_s = 1.0  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(config, "unknown", 1)
    assert config == parse(LARGE)
    assert hash(config) == hash(parse(LARGE))
    assert config != parse(SMALL)


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_as_dict_is_json_in_the_shape_of_the_file(content: str) -> None:
    config = parse(content)
    shown = json.dumps(config.as_dict())
    assert json.loads(shown) == config.as_dict()
    assert parse(shown) == config


def test_what_is_off_is_left_out_of_as_dict() -> None:
    shown = parse(SMALL).as_dict()
    assert "access_log" not in shown
    assert shown["routes"] == [{"match": {}, "cluster": "voting"}]
    assert shown["clusters"][0]["static"] == {"endpoints": [{"address": "127.0.0.1:50051", "weight": 1, "pod": ""}]}


def test_an_alias_repeats_what_its_anchor_holds() -> None:
    shared = changed("dns:", "ewma: *shared\n    dns:", changed("ewma: {", "ewma: &shared {"))
    first, second, _ = parse(shared).clusters
    assert first.ewma == second.ewma
    assert second.ewma.decay_s == 1


def test_dates_and_numbers_are_text_where_they_are_names() -> None:
    config = parse(SMALL.replace("voting", "2024-01-01"))
    assert config.clusters[0].name == "2024-01-01"
    config = parse(changed("cluster: voting", "clusters: {7: 1}", SMALL).replace("name: voting", 'name: "7"'))
    assert config.routes[0].targets == (("7", 1),)


# ---- each mistake, by name ----

MISTAKES = yaml.safe_load((Path(__file__).parent / "config_mistakes.yaml").read_text())


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake["errors"][0][:60] for mistake in MISTAKES])
def test_a_mistake_is_named_by_its_path_and_alone(mistake: dict[str, Any]) -> None:
    assert list(errors_of(changed(mistake["old"], mistake["new"]))) == mistake["errors"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9" * 5000, "is not what its tag says, or too large a number"),
        ("0x" + "f" * 5000, "is too large a number"),
        (
            "x" * 5000,
            f"must be a number from 0 to 86400, not '{'x' * 57}...'; the unit is part of the key's name",
        ),
    ],
)
def test_a_huge_value_is_refused_in_a_few_words(value: str, expected: str) -> None:
    assert errors_of(f"shutdown_grace_s: {value}\n{SMALL}") == (f"shutdown_grace_s: {expected}",)


def test_all_mistakes_are_reported_at_once() -> None:
    content = LARGE
    for old, new in (
        ("admin: {address:", "admin: {adress:"),
        ("name: outbound6", "name: outbound"),
        ("least_request", "most_request"),
        ("weight: 2", "weight: 0"),
        ("port: 8080", "port: http"),
        ("cluster: voting-canary", "cluster: nowhere"),
        ("timeout_s: 0.5", "timeout_s: 0.5\n    timeout_s: 1"),
    ):
        content = changed(old, new, content)
    paths = [line.partition(": ")[0] for line in errors_of(content)]
    assert sorted(paths) == [
        "admin.adress",
        "clusters[0].balancer",
        "clusters[0].static.endpoints[0].weight",
        "clusters[1].dns.port",
        "listeners[1].name",
        "routes[0].timeout_s",
        "routes[1].cluster",
    ]


def test_what_is_wrong_in_itself_is_not_compared() -> None:
    content = changed("name: outbound6", "name: b b", changed("name: outbound,", "name: a a,"))
    content = changed('"[0:0::1]:0"', "x", changed('"127.0.0.1:4140"', "x", content))
    paths = [line.partition(": ")[0] for line in errors_of(content)]
    assert paths == [f"listeners[{index}].{name}" for index in (0, 1) for name in ("name", "address")]


@pytest.mark.parametrize("kept", ["listeners", "clusters", "routes"])
def test_the_three_lists_must_be_there_and_not_empty(kept: str) -> None:
    others = [name for name in ("listeners", "clusters", "routes") if name != kept]
    section = next(part for part in re.split(r"(?m)^(?=\w)", SMALL) if part.startswith(kept))
    expected = {
        "listeners": ("missing; this key must be given", "must have 1 or more entries, not 0"),
        "clusters": ("must have 1 or more entries, unless a listener has `intercept` or there is `discovery`",) * 2,
        "routes": ("must have 1 or more entries, unless a listener has `intercept` or there is `discovery`",) * 2,
    }
    missing = [line for line in errors_of(section) if "no cluster is called" not in line]
    assert missing == [f"{name}: {expected[name][0]}" for name in others]
    empty = errors_of(section + "".join(f"{name}: []\n" for name in others))
    assert {f"{name}: {expected[name][1]}" for name in others} <= set(empty)


def test_a_missing_list_of_clusters_does_not_make_each_route_wrong() -> None:
    content = "listeners: [{name: a, address: '[::1]:1'}]\nroutes: [{cluster: voting}]"
    assert errors_of(content) == (
        "clusters: must have 1 or more entries, unless a listener has `intercept` or there is `discovery`",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "file: is empty; it needs listeners, clusters and routes"),
        ("# nothing", "file: is empty; it needs listeners, clusters and routes"),
        ("- a", "file: must be a mapping with the keys admin, access_log,"),
        ("listeners", "file: must be a mapping with the keys admin, access_log,"),
        ("a: [1, 2", "file: not YAML: line 2, column 1: did not find expected"),
        ("a: 1\n\tb: 2", "file: not YAML: line 2, column 1: found a tab character"),
        ("a: \x00", "file: not YAML: unacceptable character #x0000"),
        ("a: \ud800", "file: not YAML: 'utf-8' codec can't encode"),
        ("[" * 900, "file: not YAML: line 1: nested more than 32 levels deep"),
        ("[" * 100_000, "file: not YAML: line 1"),  # newer libyaml says so itself, at 1,000 levels
        ("a: &x [*x]", "a[0]: refers to *x, which is not defined above this line"),
        (SMALL + "---\na: 1", "file: holds more than one YAML document; keep one and remove the `---` lines"),
    ],
    ids=lambda value: value[:40],
)
def test_a_file_that_is_no_yaml_mapping(content: str, expected: str) -> None:
    assert errors_of(content)[0].startswith(expected)


# ---- the environment ----


def test_the_environment_overrides_single_values() -> None:
    environment = {
        "MESHCTL_ADMIN_ADDRESS": "0.0.0.0:9990",
        "MESHCTL_ADMIN_PROBE_PORTS": "8080, 9090",
        "MESHCTL_ACCESS_LOG_PATH": "/var/log/access.json",
        "MESHCTL_KUBERNETES_ZONE": "eu-1a",
        "MESHCTL_DISCOVERY_MODE": "controller",
        "MESHCTL_DISCOVERY_CONTROLLER": "controller.mesh:8086",
        "MESHCTL_DISCOVERY_POD": "web-1",
        "MESHCTL_DISCOVERY_NAMESPACE": "shop",
        "MESHCTL_DISCOVERY_CLUSTER_DOMAIN": "cluster.example",
        "MESHCTL_SHUTDOWN_GRACE_S": "2.5",
        "MESHCTL_LIMITS_MAX_HEADER_FIELDS": "20",
        "MESHCTL_LIMITS_MAX_HEADER_LIST_BYTES": "2048",
        "MESHCTL_LIMITS_MAX_CONCURRENT_STREAMS": "30",
        "MESHCTL_LIMITS_HEADER_TIMEOUT_S": "4",
        "MESHCTL_LIMITS_DETECT_TIMEOUT_S": "5",
        "MESHCTL_LOG_LEVEL": "warning",
    }
    assert {*environment, "MESHCTL_LISTENERS_OPAQUE_PORTS"} == set(overrides.VARIABLES)
    for content in (SMALL, LARGE):
        config = parse(content, environment)
        assert str(config.admin.address) == "0.0.0.0:9990"
        assert config.admin.probe_ports == (8080, 9090)
        assert config.access_log is not None
        assert config.access_log.path == "/var/log/access.json"
        assert config.shutdown_grace_s == 2.5
        assert config.log_level == "warning"
        assert config.discovery == DiscoveryConfig(
            mode="controller",
            controller=NamedAddress("controller.mesh", 8086),
            pod="web-1",
            namespace="shop",
            cluster_domain="cluster.example",
        )
        assert dataclasses.astuple(config.limits) == (20, 2048, 30, 4, 5)


def test_opaque_ports_of_the_environment_go_to_the_listeners_that_look() -> None:
    content = """
listeners:
  - {name: a, address: "127.0.0.1:1", intercept: outbound, opaque_ports: [25]}
  - {name: b, address: "127.0.0.1:2", intercept: inbound, protocol: detect}
  - {name: c, address: "127.0.0.1:3", intercept: inbound, protocol: tcp}
  - {name: d, address: "127.0.0.1:4"}
clusters: [{name: x, static: {endpoints: []}}]
routes: [{cluster: x}]
"""
    config = parse(content, {"MESHCTL_LISTENERS_OPAQUE_PORTS": "5432, 9000-9100"})
    opaque = [[ports.plain() for ports in listener.opaque_ports] for listener in config.listeners]
    assert opaque == [[5432, "9000-9100"], [5432, "9000-9100"], [], []]


def test_a_wrong_opaque_port_of_the_environment_is_named_beside_its_variable() -> None:
    content = 'listeners: [{name: a, address: "127.0.0.1:1", intercept: outbound}]'
    (error,) = errors_of(content, {"MESHCTL_LISTENERS_OPAQUE_PORTS": "25,smtp"})
    assert error.startswith("listeners[0].opaque_ports[1]: must be a port from 1 to 65535")
    assert error.endswith("(from MESHCTL_LISTENERS_OPAQUE_PORTS)")


def test_a_wrong_probe_port_of_the_environment_is_named_beside_its_variable() -> None:
    errors = errors_of(SMALL, {"MESHCTL_ADMIN_PROBE_PORTS": "80,70000,http"})
    assert [error.partition(":")[0] for error in errors] == ["admin.probe_ports[1]", "admin.probe_ports[2]"]
    assert all(error.endswith("(from MESHCTL_ADMIN_PROBE_PORTS)") for error in errors)


def test_empty_and_unknown_variables_change_nothing() -> None:
    environment = {"MESHCTL_ADMIN_ADDRESS": "", "MESHCTL_PORT": "tcp://10.0.0.1:80", "MESHCTL_ASAN": "1"}
    assert parse(SMALL, environment) == parse(SMALL)


def test_a_wrong_variable_is_named_beside_the_key() -> None:
    (error,) = errors_of(SMALL, {"MESHCTL_LIMITS_HEADER_TIMEOUT_S": "soon"})
    assert error.startswith("limits.header_timeout_s: must be a number from 0.1 to 3600, not 'soon'")
    assert error.endswith("(from MESHCTL_LIMITS_HEADER_TIMEOUT_S)")


def test_a_variable_does_not_hide_a_broken_section() -> None:
    (error,) = errors_of("limits: 5\n" + SMALL, {"MESHCTL_LIMITS_MAX_HEADER_FIELDS": "20"})
    assert error.startswith("limits: must be a mapping")


# ---- files ----


def test_load_reads_a_file_and_the_process_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text(SMALL)
    monkeypatch.setenv("MESHCTL_SHUTDOWN_GRACE_S", "7")
    assert load(path).shutdown_grace_s == 7
    assert load(str(path), {}).shutdown_grace_s == 30


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^file: cannot be read: No such file or directory$"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"^file: cannot be read: Is a directory$"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(SMALL.encode() + b"# \xe9")
    with pytest.raises(ConfigError, match=r"^file: is not UTF-8 text: "):
        load(tmp_path / "latin.yaml")
