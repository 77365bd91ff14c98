"""Checks of the controller."""

import datetime
from typing import Any

import pytest

from injector.config import parse
from meshctl.check.controller import CONTROLLER_CHECKS
from meshctl.check.facts import Permission
from meshctl.check.finding import Note, NotMeantError, Unread
from tests.unit.check.facts import NOW, controller_pod, lease, only, problems, well

FIND = {check.name: check.find for check in CONTROLLER_CHECKS}
NOT_READY = {"spec": {"replicas": 2}, "status": {"readyReplicas": 1}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"name": "controller", "state": {"waiting": {"reason": reason, "message": message}}}]}


def test_a_namespace_that_is_missing_or_going() -> None:
    problem = only(FIND["namespace-exists"], well(installed_in=None))
    assert "--namespace" in problem.hint
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert "being deleted" in only(FIND["namespace-exists"], well(installed_in=going)).what


def test_a_missing_deployment() -> None:
    assert "meshctl install" in only(FIND["controller-exists"], well(deployment=None)).hint


@pytest.mark.parametrize(
    ("status", "what", "hint"),
    [
        (waiting("ImagePullBackOff", "no such image"), "ImagePullBackOff: no such image", "pull secret"),
        (waiting("CreateContainerConfigError"), "CreateContainerConfigError", "ConfigMap or Secret"),
        (
            {
                "containerStatuses": [
                    {
                        "name": "controller",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ]
            },
            "with exit code 137 (OOMKilled)",
            "--previous",
        ),
        (
            {"containerStatuses": [{"name": "controller", "ready": False, "state": {"running": {}}}]},
            "runs and is not ready",
            "kubectl logs -n meshctl controller-1 -c controller",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: too little memory"}]},
            "has no node: 0/3 nodes: too little memory",
            "make room",
        ),
        ({"phase": "Failed", "reason": "Evicted"}, "has failed: Evicted", "kubectl describe pod"),
    ],
)
def test_why_a_controller_pod_is_not_ready(status: dict[str, Any], what: str, hint: str) -> None:
    facts = well(deployment=NOT_READY, controller_pods=[controller_pod(**status)])
    problem = only(FIND["controller-ready"], facts)
    assert what in problem.what
    assert "meshctl/controller-1" in problem.what
    assert hint in problem.hint


def test_pods_that_cannot_even_be_created() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    deployment = {"spec": {"replicas": 1}, "status": {"conditions": [condition]}}
    problem = only(FIND["controller-ready"], well(deployment=deployment, controller_pods=[]))
    assert "exceeded quota" in problem.what


def test_too_few_pods_without_a_known_reason_are_a_problem_all_the_same() -> None:
    problem = only(FIND["controller-ready"], well(deployment=NOT_READY))
    assert problem.what == "1 of 2 pods of deployment meshctl-controller are ready"


def test_a_controller_that_is_scaled_to_nothing() -> None:
    problem = only(FIND["controller-ready"], well(deployment={"spec": {"replicas": 0}, "status": {}}))
    assert "--replicas=1" in problem.hint


def test_a_pod_that_is_on_its_way_out_is_not_looked_at() -> None:
    going = controller_pod("controller-0", **waiting("ImagePullBackOff"))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert problems(FIND["controller-ready"], well(controller_pods=[controller_pod(), going])) == []


def test_what_the_controller_may_not_do_and_which_role_is_missing() -> None:
    roles = {"ClusterRole meshctl-controller": {}, "ClusterRoleBinding meshctl-controller": None}
    facts = well(controller_may_not=[Permission("list", "services")], roles=roles)
    problem = only(FIND["controller-permissions"], facts)
    assert problem.what == "the controller may not list services; missing: ClusterRoleBinding meshctl-controller"
    assert "meshctl upgrade" in problem.hint
    unread = well(controller_may_not=[Permission("list", "services")], roles=Unread("forbidden"))
    assert only(FIND["controller-permissions"], unread).what == "the controller may not list services"


def test_missing_account_and_settings() -> None:
    assert "service account" in only(FIND["controller-account"], well(service_account=None)).what
    assert "no ConfigMap" in only(FIND["controller-settings"], well(settings=None)).what
    assert "no controller.yaml" in only(FIND["controller-settings"], well(config=None)).what


def test_wrong_settings_are_told_one_by_one() -> None:
    facts = well(config=None, config_errors=("injection.image: is missing", "admin.port: is not known"))
    first, second = problems(FIND["controller-settings"], facts)
    assert "injection.image: is missing" in first.what
    assert "admin.port" in second.what
    assert "kubectl edit -n meshctl configmap meshctl-controller" in first.hint


def test_a_service_without_ready_endpoints_and_why() -> None:
    nobody = [{"endpoints": [{"conditions": {"ready": False}}]}]
    assert "controller-ready" in only(FIND["controller-service"], well(slices=nobody)).hint
    astray = well(slices=[], service={"spec": {"selector": {"app": "other"}}})
    assert (
        "selector of service meshctl-controller (app=other) finds no pod"
        in only(FIND["controller-service"], astray).what
    )
    assert "no service" in only(FIND["controller-service"], well(service=None)).what


def test_a_lease_that_nobody_holds() -> None:
    assert "no controller pod leads" in only(FIND["controller-leader"], well(lease=None)).what
    assert "no controller pod leads" in only(FIND["controller-leader"], well(lease=lease("", NOW))).what


def test_a_lease_of_a_pod_that_is_gone_is_a_warning_until_somebody_should_have_taken_it() -> None:
    fresh = only(FIND["controller-leader"], well(lease=lease("controller-0_77", NOW)))
    assert fresh.warning
    old = only(FIND["controller-leader"], well(lease=lease("controller-0_77", NOW - datetime.timedelta(minutes=5))))
    assert not old.warning
    assert "a pod that is gone" in old.what
    assert "delete -n meshctl lease meshctl-controller" in old.hint


def test_a_lease_that_is_not_renewed() -> None:
    stale = lease("controller-1_5f0c", NOW - datetime.timedelta(minutes=5))
    assert "not renewed for 300 s" in only(FIND["controller-leader"], well(lease=stale)).what


@pytest.mark.parametrize("webhook", ["enabled: false", "certificates: provided"])
def test_without_certificates_to_be_made_nobody_has_to_lead(webhook: str) -> None:
    facts = well(config=parse(f"{{injection: {{image: a}}, webhook: {{{webhook}}}}}"), lease=None)
    with pytest.raises(NotMeantError):
        list(FIND["controller-leader"](facts))


def test_a_controller_of_another_version_is_a_warning() -> None:
    problem = only(FIND["controller-version"], well(controller_versions={"controller-1": "0.2.0"}))
    assert problem.warning
    assert problem.what == "the controller is 0.2.0, and this command is 0.1.0"
    assert "meshctl-proxy==0.2.0" in problem.hint


def test_a_controller_that_does_not_answer() -> None:
    problem = only(FIND["controller-version"], well(controller_versions={"controller-1": Unread("timeout")}))
    assert "timeout" in problem.what
    assert Note("unknown") in list(FIND["controller-version"](well(controller_versions={})))
