"""Objects that tests put into the cluster. Its node has no kubelet: the test says of a pod what that would."""

from typing import Any

from tests.kube.api import Api, Json
from tests.kube.shipped import direct_mode_rights

NODE = "node"
PORT = 8080


def make_service(api: Api, namespace: str, name: str = "voting", **spec: Any) -> Json:
    """A Service of the pods labelled `app: NAME`, whose port 80, "grpc", is the container port of that name."""
    ports = [{"name": "grpc", "port": 80, "targetPort": "grpc", "appProtocol": "grpc"}]
    whole = {"selector": {"app": name}, "ports": ports, **spec}
    return api.create(f"/api/v1/namespaces/{namespace}/services", {"metadata": {"name": name}, "spec": whole})


def make_pod(api: Api, namespace: str, name: str, ip: str, app: str = "voting", port: int = PORT) -> str:
    """A pod that runs and is ready; returns its path."""
    container = {"name": app, "image": "none", "ports": [{"name": "grpc", "containerPort": port}]}
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"nodeName": NODE, "containers": [container]}
    api.create(path, {"metadata": {"name": name, "labels": {"app": app}}, "spec": spec})
    set_pod(api, f"{path}/{name}", ip, ready=True)
    return f"{path}/{name}"


def set_pod(api: Api, path: str, ip: str, *, ready: bool) -> None:
    """Says how a pod is."""
    condition = {"type": "Ready", "status": str(ready)}
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [condition]}
    api.patch(f"{path}/status", {"status": status})


def grant_direct_mode(api: Api, namespace: str) -> None:
    """Gives the service accounts of a namespace what sidecars in direct mode need, as it ships.

    Without its labels, which would make it a part of an installation.
    """
    rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    for item in direct_mode_rights(namespace):
        api.create(f"{rights}/{item['kind'].lower()}s", {**item, "metadata": {"name": item["metadata"]["name"]}})
