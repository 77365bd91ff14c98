"""Checks of pods: who should have a sidecar and has none, or an old one, or one in its way."""

import pytest

from injector.config import parse
from meshctl.check.finding import NotMeantError, UnknownError
from meshctl.check.pods import PODS
from meshctl.check.selection import owner
from tests.unit.check.facts import IMAGE, namespace, only, pod, problems, well

FIND = {check.name: check.find for check in PODS}
ENABLED = {"meshctl.io/inject": "enabled"}


def test_an_annotation_of_a_namespace_that_means_nothing() -> None:
    problem = only(FIND["namespace-annotations"], well(namespaces=[namespace("shop", {"meshctl.io/inject": "true"})]))
    assert "namespace shop is wrong: meshctl.io/inject: 'true'" in problem.what
    assert problem.hint == "kubectl annotate namespace shop --overwrite meshctl.io/inject=enabled"


def test_a_setting_of_a_namespace_that_means_nothing() -> None:
    wrong = namespace("shop", {**ENABLED, "config.meshctl.io/log-level": "loud"})
    problem = only(FIND["namespace-annotations"], well(namespaces=[wrong]))
    assert "'loud'" in problem.what
    assert "config.meshctl.io/log-level=VALUE" in problem.hint


def test_pods_from_before_the_annotation_are_told_by_what_makes_them() -> None:
    facts = well(pods=[pod("web-1"), pod("web-2"), pod("web-3", sidecar=IMAGE)])
    problem = only(FIND["pods-injected"], facts)
    assert "pods web-1, web-2;" in problem.what
    assert problem.hint == "kubectl rollout restart -n shop deployment/web"


@pytest.mark.parametrize("where", ["other", "meshctl", "kube-system"])
def test_pods_that_nobody_wants_to_inject_are_left_alone(where: str) -> None:
    spaces = [namespace("other"), namespace("meshctl", ENABLED), namespace("kube-system", ENABLED)]
    assert problems(FIND["pods-injected"], well(namespaces=spaces, pods=[pod("web-1", where)])) == []


def test_a_namespace_that_opted_out_by_label_is_left_alone() -> None:
    opted_out = namespace("shop", ENABLED)
    opted_out["metadata"]["labels"] = {"meshctl.io/inject": "disabled"}
    assert problems(FIND["pods-injected"], well(namespaces=[opted_out], pods=[pod("web-1")])) == []


def test_injection_by_default_and_for_some_namespaces() -> None:
    pods = [pod("web-1", "shop"), pod("web-1", "other")]
    spaces = [namespace("shop"), namespace("other")]
    default = parse("injection: {image: a, enabled_by_default: true}")
    assert len(problems(FIND["pods-injected"], well(namespaces=spaces, pods=pods, config=default))) == 2
    some = parse("{injection: {image: a, enabled_by_default: true}, namespaces: [other]}")
    assert "namespace other" in only(FIND["pods-injected"], well(namespaces=spaces, pods=pods, config=some)).what


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_have_ended_are_left_alone(phase: str) -> None:
    ended = pod("job-1")
    ended["status"]["phase"] = phase
    going = pod("web-0")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert problems(FIND["pods-injected"], well(pods=[ended, going])) == []


def test_pods_of_the_node_itself_are_left_alone() -> None:
    static = pod("static-1")
    static["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert problems(FIND["pods-injected"], well(pods=[static])) == []


def test_pods_that_ask_for_a_sidecar_and_cannot_have_one() -> None:
    wrong = pod("wrong-1")
    wrong["metadata"]["annotations"] = {"meshctl.io/inject": "yes"}
    clash = [{"name": "web", "ports": [{"containerPort": 4143}]}]
    user = [{"name": "web", "securityContext": {"runAsUser": 2102}}]
    pods = [pod("host-1", hostNetwork=True), wrong, pod("clash-1", containers=clash), pod("user-1", containers=user)]
    found = {problem.what.split()[1]: problem for problem in problems(FIND["pods-injected"], well(pods=pods))}
    assert "hostNetwork" in found["shop/host-1"].what
    assert "meshctl.io/inject: disabled" in found["shop/host-1"].hint
    assert "'yes'" in found["shop/wrong-1"].what
    assert "annotation" in found["shop/wrong-1"].hint
    assert "4143" in found["shop/clash-1"].what
    assert "other ports than 4140, 4143 and 4191" in found["shop/clash-1"].hint
    assert "another user than 2102" in found["shop/user-1"].hint


def test_a_pod_that_asks_for_none_is_left_alone() -> None:
    disabled = pod("web-1")
    disabled["metadata"]["annotations"] = {"meshctl.io/inject": "disabled"}
    assert problems(FIND["pods-injected"], well(pods=[disabled])) == []


def test_without_a_webhook_no_pod_is_expected_to_have_one() -> None:
    with pytest.raises(NotMeantError):
        list(FIND["pods-injected"](well(config=parse("{injection: {image: a}, webhook: {enabled: false}}"))))


def test_sidecars_of_another_image_are_a_warning() -> None:
    facts = well(pods=[pod("web-1", sidecar="meshctl:0.0.9"), pod("web-2", sidecar=IMAGE)])
    problem = only(FIND["sidecars-version"], facts)
    assert problem.warning
    assert (
        problem.what == "sidecars of deployment/web (web-1) in namespace shop are meshctl:0.0.9, new ones meshctl:0.1.0"
    )
    assert problem.hint == "kubectl rollout restart -n shop deployment/web"


def test_an_image_that_was_asked_for_is_no_old_one() -> None:
    own = pod("web-1", sidecar="meshctl:mine")
    own["metadata"]["annotations"] = {"config.meshctl.io/proxy-image": "meshctl:mine"}
    assert problems(FIND["sidecars-version"], well(pods=[own])) == []
    spaces = [namespace("shop", {**ENABLED, "config.meshctl.io/proxy-image": "meshctl:mine"})]
    assert (
        problems(FIND["sidecars-version"], well(namespaces=spaces, pods=[pod("web-1", sidecar="meshctl:mine")])) == []
    )
    with pytest.raises(UnknownError):
        list(FIND["sidecars-version"](well(config=None)))


def test_a_container_on_the_proxys_port() -> None:
    clash = pod("web-1", sidecar=IMAGE, containers=[{"name": "web", "ports": [{"containerPort": 4191}]}])
    problem = only(FIND["port-clashes"], well(pods=[clash]))
    assert "container web of pod shop/web-1 uses port 4191" in problem.what
    assert "other ports" in problem.hint


@pytest.mark.parametrize(
    ("kind", "name", "made_by"),
    [
        ("ReplicaSet", "web-5d4f", "deployment/web"),
        ("ReplicaSet", "own", "replicaset/own"),
        ("StatefulSet", "db", "statefulset/db"),
        ("Job", "once", "job/once"),
    ],
)
def test_what_a_pod_is_made_by(kind: str, name: str, made_by: str) -> None:
    item = pod("web-1")
    item["metadata"]["ownerReferences"] = [{"kind": kind, "name": name, "controller": True}]
    assert owner(item) == made_by


def test_how_pods_are_made_anew_without_a_rollout() -> None:
    alone = pod("web-1")
    del alone["metadata"]["ownerReferences"]
    assert "delete the pod in namespace shop" in only(FIND["pods-injected"], well(pods=[alone])).hint
