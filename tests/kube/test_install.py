"""`meshctl install`, `upgrade` and `uninstall` with a real kubectl and a real API server.

There is no controller here: its account does what the controller would do, with the rights that the manifests give it.
"""

import json
import subprocess
import sys

import pytest
import yaml

from tests.kube.api import RefusedError
from tests.kube.cluster import Cluster
from tests.kube.installing import (
    KEYS,
    SECRETS,
    WAYS,
    WEBHOOKS,
    act_as_controller,
    install,
    left_over,
    meshctl,
    uninstall,
    written,
)
from tests.support.helm import CHART, helm
from tests.support.helm import program as helm_program
from tests.support.process import ROOT
from tests.support.waiting import wait_until
from tests.unit.chart.samples import DELICATE

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]


@pytest.mark.parametrize("way", WAYS)
def test_applied_twice_all_stays_and_uninstalled_nothing_does(cleared: Cluster, way: str) -> None:
    cleared.kubectl(*WAYS[way], "-f", "-", text=meshctl(cleared, "install", "--ha").stdout)
    account = cleared.account("meshctl", "meshctl-controller")
    before = act_as_controller(account)
    again = install(cleared, "--ha", way=way)
    if way == "client_side":
        changed = [line for line in again.splitlines() if not line.endswith(" unchanged")]
        # kubectl sends a budget's selector always, as it replaces what was there.
        assert changed == ["poddisruptionbudget.policy/meshctl-controller configured"]
    assert written(account) == before
    # A setting that changes is applied, and what is the controller's stays then, too.
    install(cleared, "--ha", "--set", "webhook.failurePolicy=Fail", way=way)
    assert cleared.admin.get(f"{WEBHOOKS}/meshctl-injector")["webhooks"][0]["failurePolicy"] == "Fail"
    assert written(account) == before

    printed = list(yaml.safe_load_all(uninstall(cleared)))
    assert printed[0]["kind"] == "MutatingWebhookConfiguration"
    assert {"Secret", "Lease", "PodDisruptionBudget", "Namespace"} <= {each["kind"] for each in printed}
    assert left_over(cleared, "meshctl") == []
    with pytest.raises(RefusedError, match="not found"):
        cleared.admin.get("/api/v1/namespaces/meshctl")


def test_one_way_of_applying_can_follow_the_other(cleared: Cluster) -> None:
    install(cleared)
    account = cleared.account("meshctl", "meshctl-controller")
    before = act_as_controller(account)
    for way in ("server_side", "client_side"):
        install(cleared, way=way)
        assert written(account) == before


def test_with_namespace_only_nothing_is_made_outside_and_the_namespace_stays(cluster: Cluster, namespace: str) -> None:
    install(cluster, "--namespace-only", "--namespace", namespace)
    account = cluster.account(namespace, "meshctl-controller")
    account.get(f"/api/v1/namespaces/{namespace}/services")
    for path in ("/api/v1/services", "/api/v1/namespaces", WEBHOOKS, f"/api/v1/namespaces/{namespace}/secrets"):
        assert account.text("GET", path)[0] == 403
    assert not [name for name in left_over(cluster, namespace) if name.startswith(("cluster", "mutating", "namespace"))]
    uninstall(cluster, namespace)
    assert left_over(cluster, namespace) == []
    assert cluster.admin.get(f"/api/v1/namespaces/{namespace}")["status"]["phase"] == "Active"


def test_an_installation_is_not_taken_for_that_of_another_namespace(cleared: Cluster, namespace: str) -> None:
    install(cleared)
    install(cleared, "--namespace-only", "--namespace", namespace)
    both = left_over(cleared, namespace)
    uninstall(cleared)
    assert left_over(cleared, namespace) == both
    uninstall(cleared, namespace)
    assert left_over(cleared, namespace) == []


def test_an_upgrade_keeps_the_settings_and_says_what_is_left(cleared: Cluster) -> None:
    install(cleared, "--ha", "--set", "injection.cpuRequest=20m", "--image", "r.example/meshctl:old")
    done = meshctl(cleared, "upgrade", "--no-ha", "--set", "logLevel=debug", "--set", "image.tag=null")
    assert (
        done.stderr == "No longer needed: kubectl --namespace meshctl delete poddisruptionbudget meshctl-controller\n"
    )
    cleared.kubectl("apply", "-f", "-", text=done.stdout)
    held = cleared.admin.get("/api/v1/namespaces/meshctl/configmaps/meshctl-values")["data"]["values.yaml"]
    assert yaml.safe_load(held) == {
        "ha": False,
        "injection": {"cpuRequest": "20m"},
        "image": {"repository": "r.example/meshctl", "digest": ""},
        "logLevel": "debug",
    }
    again = meshctl(cleared, "upgrade", "--set", "image.tag=new")
    assert "The image stays: image.tag is new" in again.stderr
    uninstall(cleared)
    assert left_over(cleared, "meshctl") == []


CUSTOM = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""
SOMETHING_ELSE = {
    "configmaps": {"apiVersion": "v1", "kind": "ConfigMap"},
    "roles": {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"},
    "widgets": {"apiVersion": "example.com/v1", "kind": "Widget"},
}


def test_a_namespace_that_holds_something_else_stays(cleared: Cluster) -> None:
    install(cleared)
    cleared.kubectl("apply", "-f", "-", text=CUSTOM)
    try:
        cleared.kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=60s")
        asked = ("api-resources", "--api-group=example.com", "--output=name")
        wait_until(lambda: "widgets" in cleared.kubectl(*asked), "the kind, among those the API server tells of", 60)
        made = [{**each, "metadata": {"name": "another", "namespace": "meshctl"}} for each in SOMETHING_ELSE.values()]
        cleared.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(made))
        for plural in SOMETHING_ELSE:
            done = meshctl(cleared, "uninstall")
            holds = done.stderr.removeprefix("The namespace meshctl stays: it holds ").strip().split(", ")
            assert f"{plural}/another" in holds
            assert "kind: Namespace" not in done.stdout
            cleared.kubectl("--namespace", "meshctl", "delete", plural, "another")
        done = meshctl(cleared, "uninstall")
        assert (done.stderr, "kind: Namespace" in done.stdout) == ("", True)
    finally:
        cleared.kubectl("delete", "crd", "widgets.example.com")
    cleared.kubectl("delete", "--timeout=100s", "-f", "-", text=done.stdout)
    assert left_over(cleared, "meshctl") == []


def test_a_certificate_that_was_provided_stays(cleared: Cluster) -> None:
    install(cleared, "--certificates", "provided")
    data = {name: value for name, value in KEYS.items() if name != "ca.key"}
    cleared.admin.create(
        SECRETS, {"metadata": {"name": "meshctl-webhook-tls"}, "type": "kubernetes.io/tls", "data": data}
    )
    printed = uninstall(cleared)
    assert "kind: Secret" not in printed
    assert cleared.admin.get(f"{SECRETS}/meshctl-webhook-tls")["data"] == data


def test_kubectl_reads_text_as_we_wrote_it(cleared: Cluster) -> None:
    annotations = {f"example.com/{number}": text for number, text in enumerate([*DELICATE, "=", "x\n"])}
    install(cleared, "--set", f"controller.podAnnotations={json.dumps(annotations)}")
    made = cleared.admin.get("/apis/apps/v1/namespaces/meshctl/deployments/meshctl-controller")
    held = made["spec"]["template"]["metadata"]["annotations"]
    assert {name: held[name] for name in annotations} == annotations


def test_without_an_installation_uninstall_and_upgrade_say_so(cluster: Cluster, namespace: str) -> None:
    for command in ("uninstall", "upgrade"):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "meshctl",
                command,
                "--kubeconfig",
                str(cluster.kubeconfig),
                "--namespace",
                namespace,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert f"the namespace {namespace} has nothing that meshctl installed" in done.stderr


@pytest.mark.skipif(helm_program() is None, reason="Helm is not installed: scripts/helm builds it, with Go")
def test_with_helm_what_the_controller_wrote_stays_through_an_upgrade(cleared: Cluster) -> None:
    access = ("--kubeconfig", str(cleared.kubeconfig), "--namespace", "meshctl")

    def run(*arguments: str) -> None:
        done = helm(*arguments, *access)
        assert done.returncode == 0, done.stderr

    run("install", "meshctl", str(CHART), "--create-namespace")
    account = cleared.account("meshctl", "meshctl-controller")
    before = act_as_controller(account)
    run("upgrade", "meshctl", str(CHART), "--set", "webhook.failurePolicy=Fail")
    assert cleared.admin.get(f"{WEBHOOKS}/meshctl-injector")["webhooks"][0]["failurePolicy"] == "Fail"
    assert written(account) == before
    # meshctl takes none of it for its own.
    assert left_over(cleared, "meshctl") == []
    run("uninstall", "meshctl")
    cleared.kubectl("--namespace=meshctl", "delete", "secret/meshctl-webhook-tls", "lease/meshctl-controller")
    cleared.kubectl("delete", "namespace", "meshctl", "--timeout=100s")
