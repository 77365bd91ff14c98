"""The rights that the manifests give: enough for what is done with them, on a real API server, and no more."""

import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.installing import LEASES, SECRETS, WEBHOOKS, act_as_controller, install, left_over, uninstall, written
from tests.support.ports import free_address
from tests.support.process import start_python

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]


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


def test_direct_mode_lets_every_account_of_the_namespace_read_endpoints_there(cleared: Cluster, namespace: str) -> None:
    install(cleared, "--set", f"directMode.namespaces=[{namespace}]")
    account = cleared.account(namespace)
    for path in ("/api/v1{}/services", "/apis/discovery.k8s.io/v1{}/endpointslices"):
        account.get(path.format(f"/namespaces/{namespace}"))
        assert account.text("GET", path.format("/namespaces/default"))[0] == 403


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
        controller.wait_until(lambda: answers(page), "ready", 60)
        controller.wait_until(lambda: has_bundle(cleared.admin), "trusted", 60)
        before = {name: held for name, held in written(cleared.admin).items() if name != "lease"}
        for way in ("client_side", "server_side", "client_side"):
            install(cleared, "--ha", way=way)
            after = written(cleared.admin)
            assert {name: after[name] for name in before} == before
        assert "403" not in controller.stderr() and "cannot" not in controller.stderr()
        # It runs on, as a pod does for a while, and must not make anew what was deleted.
        uninstall(cleared)
        assert left_over(cleared, "meshctl") == []
        controller.stop(60)


def answers(page: str) -> bool:
    try:
        with urllib.request.urlopen(page, timeout=30) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def has_bundle(admin: Api) -> bool:
    return "caBundle" in admin.get(f"{WEBHOOKS}/meshctl-injector")["webhooks"][0]["clientConfig"]
