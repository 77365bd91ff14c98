"""`meshctl install`, `upgrade` and `uninstall` with a real kubectl and a real API server.

Where there is no controller, its account does what the controller would do, with the rights that the manifests give it.
"""

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshctl.installation import COLLECTIONS, labels
from tests.kube.api import Api, RefusedError
from tests.kube.cluster import Cluster
from tests.support.helm import CHART, helm
from tests.support.helm import program as helm_program
from tests.support.ports import free_address
from tests.support.process import ROOT, start_python
from tests.unit.chart.samples import DELICATE

pytestmark = pytest.mark.kube

SECRETS = "/api/v1/namespaces/meshctl/secrets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/meshctl/leases"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
KEYS = {name: base64.b64encode(name.encode()).decode() for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")}
WAYS = {"client_side": ("apply",), "server_side": ("apply", "--server-side")}
# Kinds of other projects, which this cluster does not know.
ABSENT = ("Issuer", "Certificate", "PodMonitor")


def meshctl(cluster: Cluster, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    access = () if command == "install" else ("--kubeconfig", str(cluster.kubeconfig))
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", command, *access, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def install(cluster: Cluster, *arguments: str, way: str = "client_side", command: str = "install") -> str:
    return cluster.kubectl(*WAYS[way], "-f", "-", text=meshctl(cluster, command, *arguments).stdout)


def uninstall(cluster: Cluster, namespace: str = "meshctl") -> str:
    printed = meshctl(cluster, "uninstall", "--namespace", namespace).stdout
    cluster.kubectl("delete", "--timeout=50s", "-f", "-", text=printed)
    return printed


def left_over(cluster: Cluster, namespace: str) -> list[str]:
    """What there still is with the installation's labels, of all kinds in all namespaces."""
    selector = ",".join(f"{name}={value}" for name, value in labels(namespace).items())
    listed = cluster.kubectl("get", _resources(), "--all-namespaces", "--selector", selector, "--output=name")
    return listed.split()


def _resources() -> str:
    """All kinds that an installation may have here, as kubectl names them."""
    known = [each for kind, each in COLLECTIONS.items() if kind not in ABSENT]
    return ",".join(f"{plural}.{version.rpartition('/')[0]}".rstrip(".") for version, plural in known)


@pytest.fixture
def cleared(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; what a test leaves of an installation goes, also after a failure."""
    yield cluster
    selected = ("--all-namespaces", "--selector", "app.kubernetes.io/name=meshctl", "--timeout=50s")
    cluster.kubectl("delete", _resources(), *selected)


def act_as_controller(account: Api) -> dict[str, Any]:
    """Everything that the controller writes, as its account; returns what must stay."""
    metadata = {"name": "meshctl-webhook-tls", "labels": {"app.kubernetes.io/name": "meshctl"}}
    account.create(SECRETS, {"metadata": metadata, "type": "kubernetes.io/tls", "data": KEYS})
    account.create(LEASES, {"metadata": {"name": "meshctl-controller"}, "spec": {"holderIdentity": "a"}})
    change = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": KEYS["ca.crt"]}]
    status, text = account.text(
        "PATCH", f"{WEBHOOKS}/meshctl-injector", json.dumps(change), "application/json-patch+json"
    )
    assert status == 200, text
    return written(account)


def written(account: Api) -> dict[str, Any]:
    return {
        "secret": account.get(f"{SECRETS}/meshctl-webhook-tls")["data"],
        "lease": account.get(f"{LEASES}/meshctl-controller")["spec"],
        "bundle": account.get(f"{WEBHOOKS}/meshctl-injector")["webhooks"][0]["clientConfig"]["caBundle"],
    }


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


def test_the_controller_can_do_its_work_and_nothing_else(cleared: Cluster, namespace: str) -> None:
    install(cleared)
    account = cleared.account("meshctl", "meshctl-controller")
    act_as_controller(account)
    followed = {
        "/api/v1/services": "",
        "/apis/discovery.k8s.io/v1/endpointslices": "",
        "/api/v1/namespaces": "",
        SECRETS: "fieldSelector=metadata.name=meshctl-webhook-tls",
        WEBHOOKS: "fieldSelector=metadata.name=meshctl-injector",
    }
    for path, selector in followed.items():
        version = account.get(f"{path}?{selector}")["metadata"]["resourceVersion"]
        status, text = account.text("GET", f"{path}?watch=1&timeoutSeconds=1&resourceVersion={version}&{selector}")
        assert status == 200, text
    secret = account.get(f"{SECRETS}/meshctl-webhook-tls")
    account.request("PUT", f"{SECRETS}/meshctl-webhook-tls", secret)
    account.request("PUT", f"{LEASES}/meshctl-controller", account.get(f"{LEASES}/meshctl-controller"))
    subject = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": namespace, "name": "web"}
    event = {"metadata": {"name": "web.1"}, "involvedObject": subject, "reason": "Injected", "type": "Normal"}
    account.create(f"/api/v1/namespaces/{namespace}/events", event)
    for owner in ("apps/v1/namespaces/x/replicasets/x", "batch/v1/namespaces/x/jobs/x"):
        assert account.text("GET", f"/apis/{owner}")[0] == 404

    refused = [
        ("GET", SECRETS),
        ("GET", f"{SECRETS}/another"),
        ("DELETE", f"{SECRETS}/meshctl-webhook-tls"),
        ("GET", f"/api/v1/namespaces/{namespace}/secrets"),
        ("GET", "/api/v1/pods"),
        ("GET", f"/api/v1/namespaces/{namespace}/configmaps"),
        ("GET", WEBHOOKS),
        ("DELETE", f"{WEBHOOKS}/meshctl-injector"),
        ("GET", "/apis/apps/v1/deployments"),
        ("DELETE", f"/api/v1/namespaces/{namespace}"),
    ]
    for method, path in refused:
        assert account.text(method, path)[0] == 403, (method, path)


def test_with_namespaces_it_reads_services_there_alone(cleared: Cluster, namespace: str) -> None:
    install(cleared, "--set", f"namespaces=[{namespace}]")
    account = cleared.account("meshctl", "meshctl-controller")
    for path in ("/api/v1{}/services", "/apis/discovery.k8s.io/v1{}/endpointslices"):
        account.get(path.format(f"/namespaces/{namespace}"))
        for elsewhere in ("", "/namespaces/default"):
            assert account.text("GET", path.format(elsewhere))[0] == 403
    account.get(f"/api/v1/namespaces?fieldSelector=metadata.name={namespace}")
    assert account.text("GET", "/api/v1/namespaces")[0] == 403
    assert "role.rbac.authorization.k8s.io/meshctl-controller-endpoints" in left_over(cleared, "meshctl")
    uninstall(cleared)
    assert left_over(cleared, "meshctl") == []


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


def test_direct_mode_lets_every_account_of_the_namespace_read_endpoints_there(cleared: Cluster, namespace: str) -> None:
    install(cleared, "--set", f"directMode.namespaces=[{namespace}]")
    account = cleared.account(namespace)
    for path in ("/api/v1{}/services", "/apis/discovery.k8s.io/v1{}/endpointslices"):
        account.get(path.format(f"/namespaces/{namespace}"))
        assert account.text("GET", path.format("/namespaces/default"))[0] == 403


def test_an_upgrade_keeps_the_settings_and_says_what_is_left(cleared: Cluster) -> None:
    install(cleared, "--ha", "--set", "injection.cpuRequest=20m", "--image", "r.example/meshctl:old")
    done = meshctl(cleared, "upgrade", "--no-ha", "--set", "logLevel=debug", "--set", "image.tag=")
    assert (
        done.stderr == "No longer needed: kubectl --namespace meshctl delete poddisruptionbudget meshctl-controller\n"
    )
    cleared.kubectl("apply", "-f", "-", text=done.stdout)
    held = cleared.admin.get("/api/v1/namespaces/meshctl/configmaps/meshctl-values")["data"]["values.yaml"]
    assert yaml.safe_load(held) == {
        "ha": False,
        "injection": {"cpuRequest": "20m"},
        "image": {"repository": "r.example/meshctl", "tag": "", "digest": ""},
        "logLevel": "debug",
    }
    again = meshctl(cleared, "upgrade", "--set", "image.tag=new")
    assert "The image stays: image.tag is new" in again.stderr
    uninstall(cleared)
    assert left_over(cleared, "meshctl") == []


def test_a_namespace_that_holds_something_else_stays(cleared: Cluster) -> None:
    install(cleared)
    cleared.admin.create("/api/v1/namespaces/meshctl/configmaps", {"metadata": {"name": "another"}})
    done = meshctl(cleared, "uninstall")
    assert done.stderr == "The namespace meshctl stays: it holds configmaps/another\n"
    cleared.kubectl("delete", "--timeout=50s", "-f", "-", text=done.stdout)
    assert left_over(cleared, "meshctl") == ["namespace/meshctl"]


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


def test_the_controller_that_is_installed_works_with_the_rights_it_is_given(cleared: Cluster, tmp_path: Path) -> None:
    """The real one, as its account and with its configuration; only its ports and the way to the server are others."""
    install(cleared, "--ha")
    config = yaml.safe_load(
        cleared.admin.get("/api/v1/namespaces/meshctl/configmaps/meshctl-controller")["data"]["controller.yaml"]
    )
    account = cleared.account("meshctl", "meshctl-controller")
    for name in ("webhook", "endpoints", "admin"):
        config[name]["address"] = free_address()
    config["kubernetes"] = {"kubeconfig": str(account.access.kubeconfig(tmp_path / "kubeconfig"))}
    file = tmp_path / "controller.yaml"
    file.write_text(yaml.safe_dump(config))
    environment = {"MESHCTL_NAMESPACE": "meshctl", "MESHCTL_POD_NAME": "meshctl-controller-1"}
    with start_python("injector", "--config", str(file), name="the controller", env=environment) as controller:
        page = f"http://{config['admin']['address']}/ready"
        controller.wait_until(lambda: answers(page), "ready", 30)
        controller.wait_until(lambda: has_bundle(cleared.admin), "trusted", 30)
        before = {name: held for name, held in written(cleared.admin).items() if name != "lease"}
        for way in ("client_side", "server_side", "client_side"):
            install(cleared, "--ha", way=way)
            after = written(cleared.admin)
            assert {name: after[name] for name in before} == before
        assert "403" not in controller.stderr() and "cannot" not in controller.stderr()
        # It runs on, as a pod does for a while, and must not make anew what was deleted.
        uninstall(cleared)
        assert left_over(cleared, "meshctl") == []
        controller.stop(30)


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
    cleared.kubectl("delete", "namespace", "meshctl", "--timeout=50s")


def answers(page: str) -> bool:
    try:
        with urllib.request.urlopen(page, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def has_bundle(admin: Api) -> bool:
    return "caBundle" in admin.get(f"{WEBHOOKS}/meshctl-injector")["webhooks"][0]["clientConfig"]
