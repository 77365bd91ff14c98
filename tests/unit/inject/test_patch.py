"""The pure functions of injection: why a pod is left alone, and what holds for any pod."""

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injector.containers import init_container, sidecar
from injector.patch import injection, rebased, removal
from injector.report import Outcome, Reason
from injector.settings import CREATED, INIT, INJECTED, PROBES, SIDECAR, Settings
from injector.workloads import PODS, workloads
from tests.unit.inject.conftest import IMAGE, SETTINGS, annotated, pod

ORDINARY = Settings(image=IMAGE, native_sidecar=False)


def inject(given: Any, settings: Settings = SETTINGS, by_default: bool = True, **namespace: str) -> Outcome:
    annotations = {f"meshctl.io/{name}": value for name, value in namespace.items()}
    return injection(given, settings, annotations, by_default=by_default)


def patched(data: Any, outcome: Outcome) -> Any:
    return jsonpatch.apply_patch(data, list(outcome.patch))


# ---- why not ----

LEFT_ALONE = [
    (pod(hostNetwork=True), Reason.HOST_NETWORK, "node's network"),
    ({**pod(), "metadata": {"annotations": {"kubernetes.io/config.mirror": "5f3c"}}}, Reason.STATIC_POD, "static pod"),
    (pod(os={"name": "windows"}), Reason.WINDOWS, "Windows"),
    (pod(securityContext={"runAsUser": 2102}), Reason.UID_CLASH, "container a runs as the proxy's user"),
    (pod(containers=[{"name": "b", "securityContext": {"runAsUser": 2102}}]), Reason.UID_CLASH, "container b"),
    (
        pod(initContainers=[{"name": "c", "restartPolicy": "Always", "securityContext": {"runAsUser": 2102}}]),
        Reason.UID_CLASH,
        "container c",
    ),
    (pod(containers=[{"name": "b", "ports": [{"containerPort": 4191}]}]), Reason.PORT_CLASH, "port 4191"),
    (pod(initContainers=[{"name": INIT}]), Reason.ALREADY_INJECTED, "already"),
    (pod(containers=[{"name": SIDECAR}]), Reason.ALREADY_INJECTED, "already"),
    (annotated(inject="disabled"), Reason.DISABLED, "the pod says"),
    (annotated(inject="yes"), Reason.WRONG_ANNOTATION, "meshctl.io/inject: 'yes' is none of enabled, disabled"),
    (annotated(log_level="loud"), Reason.WRONG_ANNOTATION, "config.meshctl.io/log-level: 'loud' is none of"),
    ({"metadata": {}}, Reason.MALFORMED, "spec is not a mapping"),
    (pod(containers=[]), Reason.MALFORMED, "spec.containers is empty"),
    (pod(volumes="none"), Reason.MALFORMED, "spec.volumes is not a list of mappings"),
    ({**pod(), "metadata": 5}, Reason.MALFORMED, "metadata is not a mapping"),
]


@pytest.mark.parametrize(("given", "reason", "detail"), LEFT_ALONE)
def test_a_pod_is_left_alone_and_the_reason_has_a_name(given: Any, reason: Reason, detail: str) -> None:
    outcome = inject(given)
    assert (outcome.patch, outcome.report.reason) == ((), reason)
    assert detail in outcome.report.details[0]


@pytest.mark.parametrize(
    ("discovery", "mounts", "is_told"),
    [("direct", False, True), ("direct", True, False), ("direct", None, False), ("controller", False, False)],
)
def test_direct_discovery_without_a_token_is_a_warning(discovery: str, mounts: bool | None, is_told: bool) -> None:
    given = annotated(discovery=discovery)
    given["spec"]["automountServiceAccountToken"] = mounts
    assert any("has no token" in each for each in inject(given).report.warnings) is is_told


@pytest.mark.parametrize("settings", [SETTINGS, ORDINARY], ids=["native", "ordinary"])
@pytest.mark.parametrize(
    ("whole", "asked_for"),
    [
        ({}, {"cpu", "memory"}),
        ({"limits": {"memory": "64Mi"}}, {"cpu"}),
        ({"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}, set()),
        ("nonsense", {"cpu", "memory"}),
    ],
)
def test_resources_that_a_pod_has_as_a_whole_are_shared(whole: Any, asked_for: set[str], settings: Settings) -> None:
    spec = patched(pod(resources=whole), inject(pod(resources=whole), settings))["spec"]
    assert spec["resources"] == whole
    for each in (*spec["initContainers"], *spec["containers"]):
        if each["name"] in (INIT, SIDECAR):
            assert set(each.get("resources", {}).get("requests", ())) == asked_for
            assert set(each.get("resources", {}).get("limits", ())) <= asked_for


@pytest.mark.parametrize(
    ("of_namespace", "of_pod", "by_default", "reason"),
    [
        (None, None, True, None),
        (None, None, False, Reason.NOT_ENABLED),
        ("enabled", None, False, None),
        ("disabled", None, True, Reason.DISABLED),
        ("disabled", "enabled", False, None),
        ("enabled", "disabled", True, Reason.DISABLED),
    ],
)
def test_the_pod_counts_more_than_its_namespace(
    of_namespace: str | None, of_pod: str | None, by_default: bool, reason: Reason | None
) -> None:
    given = annotated(inject=of_pod) if of_pod else pod()
    namespace = {"inject": of_namespace} if of_namespace else {}
    assert inject(given, by_default=by_default, **namespace).report.reason == reason


def test_an_init_container_may_run_as_the_proxy_to_reach_the_network_before_it() -> None:
    early = pod(initContainers=[{"name": "early", "securityContext": {"runAsUser": 2102}}])
    assert inject(early).report.reason is None


def test_a_container_of_its_own_user_is_no_clash_with_the_pods() -> None:
    given = pod(securityContext={"runAsUser": 2102}, containers=[{"name": "a", "securityContext": {"runAsUser": 1000}}])
    assert inject(given).report.reason is None


def test_a_pod_without_a_sidecar_has_none_to_remove() -> None:
    assert removal(pod()).report.reason == Reason.NOT_INJECTED


# ---- what is added ----


def test_a_native_sidecar_comes_before_all_init_containers() -> None:
    result = patched(pod(initContainers=[{"name": "own"}]), inject(pod(initContainers=[{"name": "own"}])))
    assert [each["name"] for each in result["spec"]["initContainers"]] == [INIT, SIDECAR, "own"]
    assert result["spec"]["initContainers"][1]["restartPolicy"] == "Always"


def test_with_an_ordinary_sidecar_init_containers_keep_the_network() -> None:
    given = pod(initContainers=[{"name": "own"}])
    result = patched(given, inject(given, ORDINARY))
    assert [each["name"] for each in result["spec"]["initContainers"]] == ["own", INIT]
    assert [each["name"] for each in result["spec"]["containers"]] == [SIDECAR, "a"]
    assert result["spec"]["containers"][0]["lifecycle"]["postStart"]["exec"]["command"] == ["meshctl", "await"]


def test_the_init_container_has_two_capabilities_and_no_more() -> None:
    security = init_container(SETTINGS)["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
    assert security["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("settings", [SETTINGS, ORDINARY])
def test_the_sidecar_may_do_nothing_beyond_its_user(settings: Settings) -> None:
    assert sidecar(settings, 30)["securityContext"] == {
        "runAsUser": 2102,
        "runAsGroup": 2102,
        "runAsNonRoot": True,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize(
    ("period_s", "grace", "expected_s", "warned"),
    [
        (None, None, 25, False),
        (60, None, 30, False),
        (60, "2m", 55, True),
        (60, "40s", 40, False),
        (4, None, 2, False),
        (0, None, 0, False),
    ],
)
def test_the_sidecar_ends_before_the_kubelet_kills_it(
    period_s: int | None, grace: str | None, expected_s: int, warned: bool
) -> None:
    given = annotated(shutdown_grace_period=grace) if grace else pod()
    if period_s is not None:
        given["spec"]["terminationGracePeriodSeconds"] = period_s
    outcome = inject(given)
    variables = patched(given, outcome)["spec"]["initContainers"][1]["env"]
    assert {"name": "MESHCTL_SHUTDOWN_GRACE_S", "value": str(expected_s)} in variables
    assert any("terminationGracePeriodSeconds" in each for each in outcome.report.warnings) is warned


# ---- workloads ----


@pytest.mark.parametrize(("group", "kind"), PODS)
def test_every_workload_kind_is_injected_where_its_pod_is(group: str, kind: str) -> None:
    held: dict[str, Any] = pod()
    for word in reversed(PODS[group, kind]):
        held = {word: held}
    whole = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "a"}} | held
    (found,) = workloads({"kind": "List", "items": [whole]})
    inner = found.pod()
    assert not isinstance(inner, Outcome)
    result = jsonpatch.apply_patch({"items": [whole]}, list(rebased(inject(inner).patch, found.pod_path or ())))
    for word in (*(found.pod_path or ()), "spec", "initContainers", 0, "name"):
        result = result[word]
    assert result == INIT


@pytest.mark.parametrize("api", ["v1", "apps/v1"])
def test_other_kinds_and_other_groups_are_not_supported(api: str) -> None:
    kind = "Service" if api == "v1" else "Job"
    (found,) = workloads({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}})
    outcome = found.pod()
    assert isinstance(outcome, Outcome)
    assert (outcome.report.reason, outcome.patch) == (Reason.UNSUPPORTED_KIND, ())


def test_a_workload_without_a_template_is_malformed() -> None:
    (found,) = workloads({"apiVersion": "apps/v1", "kind": "Deployment", "spec": 3})
    outcome = found.pod()
    assert isinstance(outcome, Outcome)
    assert outcome.report.reason == Reason.MALFORMED


# ---- any pod ----

names = st.text("abc-./~ é", min_size=1, max_size=8)
texts = st.dictionaries(names, names, max_size=3)
port_names = st.sampled_from(["http", "x-1", "none"])
sockets = st.fixed_dictionaries(
    {"port": st.integers(-1, 70_000) | port_names}, optional={"host": st.sampled_from(["", None, "other"])}
)
probes = st.fixed_dictionaries(
    {}, optional={"tcpSocket": sockets, "periodSeconds": st.integers(1, 9), "exec": st.just({"command": ["true"]})}
)
ports = st.fixed_dictionaries({"containerPort": st.integers(1, 4000)}, optional={"name": port_names})
containers = st.lists(
    st.fixed_dictionaries(
        {"name": names},
        optional={
            "image": names,
            "securityContext": st.fixed_dictionaries({"runAsUser": st.integers(0, 2000)}),
            "ports": st.lists(ports, max_size=2),
            "readinessProbe": probes,
            "livenessProbe": probes,
            "restartPolicy": st.just("Always"),
        },
    ),
    min_size=1,
    max_size=3,
)
pods = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {"containers": containers},
            optional={
                "initContainers": containers | st.just([]),
                "volumes": st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
                "terminationGracePeriodSeconds": st.integers(0, 1000),
                "securityContext": st.fixed_dictionaries({"runAsNonRoot": st.booleans()}),
            },
        )
    },
    optional={"metadata": st.fixed_dictionaries({}, optional={"annotations": texts, "labels": texts})},
)


@settings(deadline=None, derandomize=True)
@given(pods, st.booleans())
def test_any_pod_is_injected_once_and_keeps_all_it_had(given: dict[str, Any], native: bool) -> None:
    before = copy.deepcopy(given)
    settings = SETTINGS if native else ORDINARY
    result = patched(given, inject(given, settings))
    assert given == before
    assert inject(result, settings).report.reason == Reason.ALREADY_INJECTED
    for name in ("containers", "initContainers", "volumes"):
        own = [each for each in result["spec"].get(name) or [] if not each["name"].startswith("meshctl-")]
        assert without_probes(own) == without_probes(given["spec"].get(name, []))
    annotations = dict(result["metadata"]["annotations"])
    assert annotations.pop(INJECTED) == ("native" if native else "container")
    annotations.pop(CREATED, None)
    annotations.pop(PROBES, None)
    assert annotations == given.get("metadata", {}).get("annotations", {})


def without_probes(held: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if not name.endswith("Probe")} for each in held]


@settings(deadline=None, derandomize=True)
@given(pods, st.booleans())
def test_removal_undoes_injection_of_any_pod(given: dict[str, Any], native: bool) -> None:
    result = patched(given, inject(given, SETTINGS if native else ORDINARY))
    assert patched(result, removal(result)) == given


def test_removal_leaves_what_was_added_after_injection() -> None:
    result = patched(pod(), inject(pod()))
    result["metadata"]["annotations"]["later"] = "yes"
    result["spec"]["initContainers"].append({"name": "later"})
    undone = patched(result, removal(result))
    assert undone["metadata"]["annotations"] == {"later": "yes"}
    assert undone["spec"]["initContainers"] == [{"name": "later"}]
