"""`tcpSocket` probes: which are put to the sidecar, what they become, and that nothing else comes back from them."""

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injector.iptables import parse_ports
from injector.patch import injection, removal
from injector.probes import LONGEST_CHARACTERS, MOST_PROBES
from injector.settings import INIT, PROBES, SIDECAR, Settings
from tests.unit.inject.conftest import IMAGE, SETTINGS

ORDINARY = Settings(image=IMAGE, native_sidecar=False)
VARIABLE = "MESHCTL_ADMIN_PROBE_PORTS"


def web(probe: Any, kind: str = "readinessProbe", **more: Any) -> dict[str, Any]:
    """A container with a probe, and with ports that have names."""
    ports = [{"containerPort": 9000}, {"name": "http", "containerPort": 8080}, {"name": "http", "containerPort": 1}]
    return {"name": "web", "ports": ports, kind: probe, **more}


def tcp(port: Any, **more: Any) -> dict[str, Any]:
    return {"tcpSocket": {"port": port, **more}}


def asks_sidecar(port: int) -> dict[str, Any]:
    return {"httpGet": {"path": f"/probe/tcp/{port}", "port": 4191, "scheme": "HTTP"}}


def made(*containers: Any, **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


def injected(pod: dict[str, Any], chosen: Settings = SETTINGS) -> dict[str, Any]:
    outcome = injection(pod, chosen, {}, by_default=True)
    assert outcome.report.reason is None
    return dict(jsonpatch.apply_patch(pod, list(outcome.patch)))


def removed(pod: dict[str, Any]) -> dict[str, Any]:
    return dict(jsonpatch.apply_patch(pod, list(removal(pod).patch)))


def container(pod: dict[str, Any], name: str = "web") -> dict[str, Any]:
    (found,) = [
        each for held in ("containers", "initContainers") for each in pod["spec"].get(held, []) if each["name"] == name
    ]
    return dict(found)


def probe_ports(pod: dict[str, Any]) -> str | None:
    return {each["name"]: each.get("value") for each in container(pod, SIDECAR)["env"]}.get(VARIABLE)


def annotation(pod: dict[str, Any]) -> Any:
    return pod["metadata"]["annotations"].get(PROBES)


# ---- which ----


@pytest.mark.parametrize("chosen", [SETTINGS, ORDINARY])
@pytest.mark.parametrize("kind", ["startupProbe", "readinessProbe", "livenessProbe"])
@pytest.mark.parametrize("port", [8080, "http"])
def test_a_probe_of_a_port_asks_the_sidecar(port: Any, kind: str, chosen: Settings) -> None:
    rest = {"periodSeconds": 2, "failureThreshold": 7, "timeoutSeconds": 4, "initialDelaySeconds": 1}
    pod = made(web(tcp(port) | rest, kind))
    result = injected(pod, chosen)
    assert container(result)[kind] == asks_sidecar(8080) | rest
    assert probe_ports(result) == "8080"
    assert annotation(result) == f'{{"web":{{"{kind}":{{"port":{json.dumps(port)}}}}}}}'
    assert removed(result) == pod


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"port": 8080}},
        {"grpc": {"port": 8080}},
        {"exec": {"command": ["true"]}},
        tcp(8080, host="other.example"),
        tcp(8080, host="127.0.0.1"),
        tcp("unnamed"),
        tcp("8080"),
        tcp(0),
        tcp(65_536),
        tcp(True),
        tcp(8080.0),
        tcp(None),
        tcp(4191),
        tcp(4143),
        tcp(4140),
        tcp(8080, later="unknown"),
        tcp(8080) | {"httpGet": {"port": 8080}},
        {"tcpSocket": None},
        {"tcpSocket": 8080},
        {},
        None,
        "tcpSocket",
    ],
)
def test_any_other_probe_stays_as_it_is(probe: Any) -> None:
    pod = made(web(probe))
    result = injected(pod)
    assert container(result)["readinessProbe"] == probe
    assert (probe_ports(result), annotation(result)) == (None, None)
    assert removed(result) == pod


@pytest.mark.parametrize(
    "ports", [None, "http", [None, "http"], [{"name": "http"}], [{"name": "http", "containerPort": "8080"}]]
)
def test_a_name_that_leads_to_no_port_stays(ports: Any) -> None:
    pod = made({"name": "web", "ports": ports, "readinessProbe": tcp("http")})
    assert container(injected(pod))["readinessProbe"] == tcp("http")


@pytest.mark.parametrize(
    ("skips", "expected"), [("8080", tcp("http")), ("8000-8090", tcp("http")), ("8081", asks_sidecar(8080))]
)
def test_what_goes_past_the_sidecar_is_not_asked_of_it(skips: str, expected: Any) -> None:
    chosen = Settings(image=IMAGE, skip_inbound_ports=parse_ports(skips))
    assert container(injected(made(web(tcp("http"))), chosen))["readinessProbe"] == expected


def test_the_pods_annotation_counts_for_what_is_skipped() -> None:
    pod = made(web(tcp(8080))) | {"metadata": {"annotations": {"config.meshctl.io/skip-inbound-ports": "8080"}}}
    assert container(injected(pod))["readinessProbe"] == tcp(8080)


@pytest.mark.parametrize("host", ["", None])
def test_no_host_is_the_pod(host: Any) -> None:
    pod = made(web(tcp(8080, host=host)))
    result = injected(pod)
    assert container(result)["readinessProbe"] == asks_sidecar(8080)
    assert removed(result) == pod


def test_a_native_sidecar_is_asked_about_others_and_an_ordinary_one_runs_too_late() -> None:
    pod = made({"name": "a"}, initContainers=[web(tcp(8080), "startupProbe", restartPolicy="Always")])
    result = injected(pod)
    assert container(result)["startupProbe"] == asks_sidecar(8080)
    assert removed(result) == pod
    assert container(injected(pod, ORDINARY))["startupProbe"] == tcp(8080)


def test_the_sidecar_is_told_each_port_once_in_order() -> None:
    one = web(tcp(9000), livenessProbe=tcp("http"))
    result = injected(made(one, {"name": "other", "startupProbe": tcp(80), "livenessProbe": tcp(9000)}))
    assert probe_ports(result) == "80,8080,9000"
    assert json.loads(annotation(result)) == {
        "web": {"readinessProbe": {"port": 9000}, "livenessProbe": {"port": "http"}},
        "other": {"startupProbe": {"port": 80}, "livenessProbe": {"port": 9000}},
    }


@pytest.mark.parametrize("name", [None, "", "x" * 64])
def test_a_container_without_a_proper_name_keeps_its_probes(name: Any) -> None:
    pod = made({"name": name, "readinessProbe": tcp(80)})
    assert injected(pod)["spec"]["containers"][0]["readinessProbe"] == tcp(80)


def test_containers_of_one_name_keep_their_probes() -> None:
    pod = made(web(tcp(80)), {"name": "web", "readinessProbe": tcp(81)})
    assert [each["readinessProbe"] for each in injected(pod)["spec"]["containers"]] == [tcp(80), tcp(81)]


def test_the_annotation_is_bounded() -> None:
    names = [f"{number:063}" for number in range(MOST_PROBES + 10)]
    pod = made(*({"name": name, "readinessProbe": tcp(80)} for name in names))
    result = injected(pod)
    asking = [each["name"] for each in result["spec"]["containers"] if "httpGet" in each["readinessProbe"]]
    assert asking == names[:MOST_PROBES]
    assert len(annotation(result)) < LONGEST_CHARACTERS
    assert removed(result) == pod


def test_injecting_again_changes_nothing() -> None:
    assert injection(injected(made(web(tcp(8080)))), SETTINGS, {}, by_default=True).patch == ()


# ---- undoing ----


WRONG = [
    None,
    "",
    "{",
    "null",
    "[]",
    "{}",
    "[" * LONGEST_CHARACTERS,
    '{"web":{"readinessProbe":{"port":"http"}}}' + " " * LONGEST_CHARACTERS,
    '{"web":[]}',
    '{"web":{"readinessProbe":null}}',
    '{"web":{"readinessProbe":{}}}',
    '{"web":{"readinessProbe":{"port":9000}}}',
    '{"web":{"readinessProbe":{"port":"unnamed"}}}',
    '{"web":{"readinessProbe":{"port":[8080]}}}',
    '{"web":{"readinessProbe":{"port":true}}}',
    '{"web":{"readinessProbe":{"port":8080,"host":"other.example"}}}',
    '{"web":{"readinessProbe":{"port":8080,"host":[]}}}',
    '{"web":{"readinessProbe":{"port":8080,"exec":{"command":["true"]}}}}',
    '{"web":{"readinessProbe":{"port":1e400}}}',
    '{"other":{"readinessProbe":{"port":"http"}}}',
]


@pytest.mark.parametrize("text", WRONG)
def test_a_record_that_does_not_mean_this_port_is_not_used(text: str | None) -> None:
    result = injected(made(web(tcp("http") | {"periodSeconds": 2})))
    if text is None:
        del result["metadata"]["annotations"][PROBES]
    else:
        result["metadata"]["annotations"][PROBES] = text
    assert removed(result) == made(web(tcp(8080) | {"periodSeconds": 2}))


@settings(deadline=None, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["web", "readinessProbe", "port", "host", "exec"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_whatever_the_record_says_the_port_is_the_one_asked_for(said: Any) -> None:
    result = injected(made(web(tcp("http"))))
    result["metadata"]["annotations"][PROBES] = json.dumps(said)
    probe = container(removed(result))["readinessProbe"]
    assert probe in (tcp(8080), tcp("http"), tcp(8080, host=""), tcp(8080, host=None))


@pytest.mark.parametrize(
    "changed",
    [
        {"httpGet": {"path": "/healthy", "port": 8080}},
        {"httpGet": {"path": "/probe/tcp/8080", "port": 80, "scheme": "HTTP"}},
        {"httpGet": {"path": "/probe/tcp/08080", "port": 4191, "scheme": "HTTP"}},
        {"httpGet": {"path": "/probe/tcp/²", "port": 4191, "scheme": "HTTP"}},
        {"httpGet": {"path": "/probe/tcp/", "port": 4191, "scheme": "HTTP"}},
        {"httpGet": None},
        asks_sidecar(8080) | {"exec": {}},
        tcp(9000),
    ],
)
def test_a_probe_that_was_changed_since_is_left_alone(changed: Any) -> None:
    result = injected(made(web(tcp("http"))))
    result["spec"]["containers"][0]["readinessProbe"] = changed
    undone = removed(result)
    assert container(undone)["readinessProbe"] == changed
    assert "metadata" not in undone


def test_containers_may_have_moved_since() -> None:
    result = injected(made(web(tcp("http"))))
    result["spec"]["containers"].insert(0, {"name": "later"})
    assert container(removed(result)) == web(tcp("http"))


def test_a_name_that_has_another_port_now_is_not_given_back() -> None:
    result = injected(made(web(tcp("http"))))
    result["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 7000}]
    assert container(removed(result))["readinessProbe"] == tcp(8080)


def test_the_own_containers_have_no_probe_of_that_kind() -> None:
    result = injected(made(web(tcp(8080))))
    assert "tcpSocket" not in json.dumps([container(result, SIDECAR), container(result, INIT)])
