"""`meshctl check` against a real installation: API server, controller, webhook and a sidecar.

Each fault is really there, and `meshctl check` has to find it and say how to mend it.
"""

from pathlib import Path

import pytest

from tests.kube.faults import FAULTS
from tests.kube.installation import SHOP, Installation
from tests.kube.installed import NAMESPACE as OWN
from tests.kube.installed import install
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]


def test_an_installation_that_is_well_passes_every_check(installation: Installation) -> None:
    code, found = installation.check()
    assert {name: each for name, each in found.items() if each["status"] != "ok"} == {}
    assert code == 0
    assert len(found) > 20


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_the_way_to_mend_it(installation: Installation, name: str) -> None:
    fault = FAULTS[name]
    with fault.seed(installation):
        code, found = installation.check()
    result = found[fault.check]
    assert result["status"] == fault.status, found
    assert any(fault.hint in problem["hint"] for problem in result["problems"]), result
    assert code == (1 if any(each["status"] == "failed" for each in found.values()) else 0)


def test_when_all_is_mended_it_is_well_again(installation: Installation) -> None:
    # A lease that somebody else held is taken 15 s later.
    wait_until(lambda: installation.check()[0] == 0, "well again", 60)


def test_people_get_lines_and_the_exit_code(installation: Installation) -> None:
    with FAULTS["a namespace's annotation means nothing"].seed(installation):
        done = installation.meshctl("check")
    assert done.returncode == 1
    assert "✓ the API server answers (v1." in done.stdout
    assert "✗ the annotations of namespaces are right\n    the annotation of namespace vague is wrong" in done.stdout
    assert "docs/troubleshooting.md#namespace-annotations" in done.stdout
    assert "1 wrong" in done.stdout.splitlines()[-1]
    assert "\x1b" not in done.stdout


def test_it_changes_nothing(installation: Installation) -> None:
    def pods() -> list[tuple[str, str]]:
        found = installation.api.get("/api/v1/pods")["items"]
        return [(each["metadata"]["name"], each["metadata"]["resourceVersion"]) for each in found]

    before = pods()
    installation.check()
    assert pods() == before


def test_another_namespace_has_no_installation(installation: Installation) -> None:
    code, found = installation.check("--namespace", "elsewhere")
    assert code == 1
    assert "--namespace" in found["namespace-exists"]["problems"][0]["hint"]
    assert found["controller-ready"]["status"] == "skipped"


def test_before_installing_it_says_what_is_there_and_what_one_may(installation: Installation) -> None:
    code, found = installation.check("--pre")
    assert (code, found["may-install"]["status"], found["not-installed"]["status"]) == (0, "ok", "warning")
    code, found = installation.check("--pre", "--namespace", "elsewhere")
    assert (code, found["not-installed"]["status"]) == (1, "failed")


def test_somebody_without_rights_may_not_install_and_cannot_check(installation: Installation, tmp_path: Path) -> None:
    nobody = installation.cluster.account(SHOP).access.kubeconfig(tmp_path / "nobody")
    code, found = installation.check("--pre", "--kubeconfig", str(nobody))
    assert code == 1
    assert f"create, patch deployments.apps in {OWN}" in found["may-install"]["problems"][0]["what"]
    code, found = installation.check("--kubeconfig", str(nobody))
    assert code == 2
    assert found["api-reachable"]["status"] == "ok"
    assert "forbidden" in found["namespace-exists"]["note"]


def test_a_wrong_token_cannot_check(installation: Installation, tmp_path: Path) -> None:
    text = installation.cluster.account(SHOP).access.kubeconfig(tmp_path / "valid").read_text()
    token = next(line.split()[-1] for line in text.splitlines() if line.strip().startswith("token:"))
    wrong = tmp_path / "wrong"
    wrong.write_text(text.replace(token, "wrong"))
    code, found = installation.check("--kubeconfig", str(wrong))
    assert (code, list(found)) == (2, ["api-reachable", "api-version"])
    (problem,) = found["api-reachable"]["problems"]
    assert "log in to the cluster again" in problem["hint"]


def test_an_installation_for_one_namespace_has_no_webhook_to_check(installation: Installation) -> None:
    installation.make_namespace("solo")
    try:
        install(installation.cluster, "--namespace-only", "--namespace", "solo")
        _, found = installation.check("--namespace", "solo")
    finally:
        installation.api.delete("/api/v1/namespaces/solo/pods", grace_s=0)
        installation.api.delete("/api/v1/namespaces/solo")
    assert found["controller-permissions"]["status"] == "ok"
    assert found["controller-ready"]["status"] == "failed"  # its pod waits for a node
    skipped = {name for name, each in found.items() if each["status"] == "skipped"}
    assert skipped >= {"webhook-exists", "webhook-called", "controller-leader", "pods-injected"}
