"""The controller as it is installed: `meshctl install` applied, its pods played by processes on addresses of their own.

The cluster and its controllers are in one network namespace, since no Service may have an endpoint on loopback, and the
API server calls the webhook's pods. A controller process has its pod's account, configuration and addresses; the rights
are those that the manifests give.
"""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.kube.api import Api, Json
from tests.kube.cluster import Cluster
from tests.kube.objects import NODE
from tests.support.process import ROOT, Process

NAMESPACE = "meshctl"
ACCOUNT = "meshctl-controller"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/meshctl-webhook-tls"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/meshctl-controller"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/meshctl-injector"
ADMIN_PORT = 9990
WEBHOOK_S = 30  # the most that the API allows


class ControllerPod:
    """A pod of the Deployment, and the process that plays it on `ip`."""

    def __init__(self, cluster: Cluster, name: str, ip: str, directory: Path, namespace: str = NAMESPACE) -> None:
        self.name = name
        self._cluster = cluster
        self._namespace = namespace
        self._ip = ip
        kubeconfig = cluster.account(namespace, ACCOUNT).access.kubeconfig(directory / f"{name}.kubeconfig")
        config = self._config(kubeconfig)
        self._path = directory / f"{name}.yaml"
        self._path.write_text(yaml.safe_dump(config))
        self.process = self._started()

    def _started(self) -> Process:
        environment = {"MESHCTL_NAMESPACE": self._namespace, "MESHCTL_POD_NAME": self.name}
        command = (sys.executable, "-m", "injector", "--config", str(self._path))
        return Process(command, f"controller {self.name}", environment, self._cluster.place)

    def restart(self) -> None:
        """After its end: a container that is started again. Returns when it is ready."""
        self.process.close()
        self.process = self._started()
        self.wait_until_ready()

    def _config(self, kubeconfig: Path) -> Json:
        """The ConfigMap's, on the pod's own address."""
        held = self._cluster.admin.get(f"/api/v1/namespaces/{self._namespace}/configmaps/{ACCOUNT}")
        config: Json = yaml.safe_load(held["data"]["controller.yaml"])
        for server, port in (("webhook", 8443), ("endpoints", 8086), ("admin", ADMIN_PORT)):
            config[server]["address"] = f"{self._ip}:{port}"
        return config | {"kubernetes": {"kubeconfig": str(kubeconfig)}}

    @property
    def leads(self) -> bool:
        return "meshctl_leader 1.0" in self.get("/metrics")[1]

    def get(self, path: str) -> tuple[int, str]:
        """(status, text) of an admin page."""
        connection = http.client.HTTPConnection(self._ip, ADMIN_PORT, timeout=30)
        with self._cluster.place.entered(), contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/ready")[0] == 200
        return False

    def wait_until_ready(self) -> None:
        self.process.wait_until(self.is_ready, "ready", 60)
        self.say_ready(True)

    def say_ready(self, ready: bool) -> None:
        """Its kubelet's word."""
        status = {
            "phase": "Running",
            "podIP": self._ip,
            "podIPs": [{"ip": self._ip}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        self._cluster.admin.patch(f"{_pods(self._namespace)}/{self.name}/status", {"status": status})


def install(cluster: Cluster, *options: str) -> None:
    """As a user does it."""
    command = [sys.executable, "-m", "meshctl", "install", *options]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    cluster.kubectl("apply", "-f", "-", text=printed)


def be_patient(admin: Api) -> None:
    """Has the API server wait long for the webhook: a pod gets no sidecar if that does not answer in time."""
    change = [{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": WEBHOOK_S}]
    status, text = admin.text("PATCH", CONFIGURATION, json.dumps(change), "application/json-patch+json")
    assert status == 200, text


def scheduled_pods(api: Api, count: int, wait_until: Callable[..., Any], namespace: str = NAMESPACE) -> list[str]:
    """The names of the Deployment's pods, all on the one node."""
    path = _pods(namespace)

    def found() -> list[str]:
        names = [
            item["metadata"]["name"]
            for item in api.get(f"{path}?labelSelector=app.kubernetes.io/component=controller")["items"]
        ]
        return names if len(names) == count else []

    names: list[str] = wait_until(found, f"{count} pods of the Deployment", 60)
    for name in names:
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        api.create(f"{path}/{name}/binding", {"metadata": {"name": name}, "target": target})
    return names


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pod(name: str = "web", **annotations: str) -> Json:
    """A small pod of a user's."""
    metadata = {"name": name, "annotations": {f"meshctl.io/{key}": value for key, value in annotations.items()}}
    containers = [{"name": "web", "image": "registry.example/web:1"}]
    return {"metadata": metadata, "spec": {"containers": containers, "tolerations": []}}


def has_sidecar(made: Json) -> bool:
    return "meshctl-proxy" in json.dumps(made["spec"].get("initContainers", []))
