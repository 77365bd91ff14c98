"""Pods after injection, as an API server takes them: whatever it took without a sidecar, it takes with one."""

import json
from typing import Any

import jsonpatch
import pytest

from injector.patch import injection
from injector.settings import Settings
from tests.kube.api import RefusedError
from tests.kube.cluster import Cluster

pytestmark = pytest.mark.kube

SETTINGS = Settings(image="registry.example/meshctl:1.0")
APP: dict[str, Any] = {"name": "app", "image": "registry.example/app:1.0"}

SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "resources_of_the_pod_limited": {"resources": {"limits": {"cpu": "100m", "memory": "128Mi"}}},
    "resources_of_the_pod_requested": {"resources": {"requests": {"cpu": "5m", "memory": "16Mi"}}},
    "resources_of_the_pod_all_used_up": {
        "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "containers": [{**APP, "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}}}],
    },
    "only_cpu_of_the_pod": {"resources": {"limits": {"cpu": "100m"}}},
    "a_user_namespace": {"hostUsers": False},
    "not_as_root": {"securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000}},
    "no_token": {"automountServiceAccountToken": False},
    "the_node's_processes": {"hostPID": True, "shareProcessNamespace": False},
    "one_process_namespace": {"shareProcessNamespace": True},
    "a_deadline": {"activeDeadlineSeconds": 60, "restartPolicy": "Never"},
    "a_gate": {"schedulingGates": [{"name": "example.com/gate"}]},
    "for_linux": {"os": {"name": "linux"}},
    "names_of_ports": {"containers": [{**APP, "ports": [{"name": "meshctl-admin", "containerPort": 8080}]}]},
}


@pytest.mark.parametrize("native", [True, False], ids=["native", "ordinary"])
@pytest.mark.parametrize("name", SPECS)
def test_a_pod_that_is_valid_is_valid_with_a_sidecar(cluster: Cluster, namespace: str, name: str, native: bool) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
    pod = {"metadata": {"name": "app"}, "spec": {"containers": [APP], **SPECS[name]}}
    cluster.admin.create(pods, pod)
    settings = Settings(image=SETTINGS.image, native_sidecar=native)
    outcome = injection(pod, settings, {}, by_default=True)
    assert outcome.report.reason is None
    try:
        cluster.admin.create(pods, jsonpatch.apply_patch(json.loads(json.dumps(pod)), list(outcome.patch)))
    except RefusedError as error:
        pytest.fail(str(error))
