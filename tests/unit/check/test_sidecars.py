"""Checks of sidecars, and what is understood of their pages."""

import json

import pytest

from meshctl.check.facts import Sidecar
from meshctl.check.finding import Note, UnknownError, Unread
from meshctl.check.probe import understood
from meshctl.check.sidecars import SIDECARS
from tests.unit.check.facts import BOTH, IMAGE, only, pod, problems, sidecar_status, well

FIND = {check.name: check.find for check in SIDECARS}
WEB = ("shop", "web-1")


def test_a_sidecar_that_cannot_start_and_no_other_container() -> None:
    given = sidecar_status(pod("web-1", sidecar=IMAGE), state={"waiting": {"reason": "ErrImagePull"}})
    given["status"]["containerStatuses"] = [{"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    problem = only(FIND["sidecars-ready"], well(pods=[given]))
    assert "container meshctl-proxy of pod shop/web-1 cannot start: ErrImagePull" in problem.what
    assert "registry" in problem.hint


def test_a_sidecar_that_runs_and_is_not_ready() -> None:
    problem = only(
        FIND["sidecars-ready"], well(pods=[sidecar_status(pod("web-1", sidecar=IMAGE), state={"running": {}})])
    )
    assert problem.hint == "kubectl logs -n shop web-1 -c meshctl-proxy"


def test_a_sidecar_that_was_started_again_and_again() -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    given = sidecar_status(pod("web-1", sidecar=IMAGE), ready=True, restartCount=4, lastState=ended)
    problem = only(FIND["sidecars-ready"], well(pods=[given]))
    assert problem.warning
    assert "started again 4 times; it ended last, with exit code 137 (OOMKilled)" in problem.what
    assert problem.hint.endswith("--previous")


def test_an_init_container_that_failed_or_is_missing() -> None:
    failed, missing = pod("web-1", sidecar=IMAGE), pod("web-2", sidecar=IMAGE)
    ended = {"exitCode": 1, "message": "iptables: Permission denied"}
    failed["status"]["initContainerStatuses"][0]["state"] = {"terminated": ended}
    del missing["spec"]["initContainers"][0]
    first, second = problems(FIND["sidecars-redirected"], well(pods=[failed, missing], sidecars={}))
    assert "could not set the rules, with exit code 1: iptables: Permission denied" in first.what
    assert "NET_ADMIN" in first.hint
    assert "no meshctl-init" in second.what
    assert "kubectl rollout restart -n shop deployment/web" in second.hint


def test_a_sidecar_without_a_listener_for_what_is_redirected() -> None:
    outbound = {WEB: Sidecar("0.1.0", frozenset({"outbound"}), connected=True)}
    problem = only(FIND["sidecars-redirected"], well(sidecars=outbound))
    assert "takes no inbound connections" in problem.what
    assert "sidecar.yaml" in problem.hint


def test_sidecars_without_the_controller() -> None:
    problem = only(FIND["sidecars-connected"], well(sidecars={WEB: Sidecar("0.1.0", BOTH, connected=False)}))
    assert "no connection to the controller" in problem.what
    assert "port 8086 of service meshctl/meshctl-controller" in problem.hint


def test_a_sidecar_that_does_not_answer_is_a_warning() -> None:
    problem = only(FIND["sidecars-connected"], well(sidecars={WEB: Unread("connection refused")}))
    assert problem.warning
    assert "connection refused" in problem.what


def test_a_sidecar_that_discovers_nothing_is_not_counted() -> None:
    sidecars = {WEB: Sidecar("0.1.0", BOTH, connected=None)}
    assert list(FIND["sidecars-connected"](well(sidecars=sidecars, not_asked=7))) == [Note("0 of 0, 7 not asked")]
    with pytest.raises(UnknownError):
        list(FIND["sidecars-connected"](well(sidecars=Unread("forbidden"))))


CONFIG = json.dumps({"listeners": [{"name": "a", "intercept": "outbound"}, {"name": "b", "intercept": None}]})
METRICS = """# TYPE meshctl_build_info gauge
meshctl_build_info{nghttp2="1.52",python="3.11",version="0.2.0"} 1.0
meshctl_discovery_connected 0.0
meshctl_request_total{cluster="a"} 5.0
"""


def test_what_a_sidecars_pages_say() -> None:
    assert understood(CONFIG, METRICS) == Sidecar("0.2.0", frozenset({"outbound"}), connected=False)
    assert understood("{}", METRICS.replace("connected 0.0", "connected 1.0")).connected is True
    assert understood("{}", "").connected is None


@pytest.mark.parametrize("page", ["<html>", "[]", '{"listeners": [1]}'])
def test_pages_of_something_else(page: str) -> None:
    with pytest.raises((ValueError, AttributeError, TypeError, KeyError)):
        understood(page, "")
