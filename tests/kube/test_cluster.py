"""The cluster of the tests itself: what others build on."""

import json

import pytest

from tests.kube.api import RefusedError
from tests.kube.cluster import Cluster
from tests.kube.programs import version

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]


def test_the_api_server_is_the_version_that_was_built(cluster: Cluster) -> None:
    assert cluster.admin.get("/version")["gitVersion"] == version()
    told = json.loads(cluster.kubectl("version", "--output=json"))
    assert told["serverVersion"]["gitVersion"] == version()


def test_a_service_account_has_no_rights_at_first(cluster: Cluster, namespace: str) -> None:
    account = cluster.account(namespace)
    with pytest.raises(RefusedError, match="cannot list resource") as refused:
        account.get(f"/api/v1/namespaces/{namespace}/services")
    assert refused.value.status == 403


def test_objects_outlive_etcd_and_the_api_server(cluster: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    cluster.admin.create(path, {"metadata": {"name": "kept"}, "data": {"key": "value"}})
    cluster.kill("kube-apiserver")
    cluster.kill("etcd")
    cluster.start_etcd()
    cluster.start_api_server()
    assert cluster.admin.get(f"{path}/kept")["data"] == {"key": "value"}


def test_a_deployment_becomes_pods(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("--namespace", namespace, "create", "deployment", "web", "--image=none", "--replicas=2")
    wait = ("wait", "--for=jsonpath={.status.replicas}=2", "deployment/web", "--timeout=60s")
    cluster.kubectl("--namespace", namespace, *wait)
    pods = cluster.admin.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert len(pods) == 2
