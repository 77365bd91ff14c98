"""The two containers that injection adds to a pod: one that sets the rules of interception, and the sidecar.

Plain data in the shape of the Kubernetes API (core/v1 Container). Commands are lists of words: no shell sees them.
The sidecar's configuration is the image's own file, SIDECAR_CONFIG (deploy/sidecar.yaml), and what differs from pod to
pod comes as `MESHCTL_` variables (docs/configuration.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from injector.settings import INIT, PORTS, SIDECAR, VOLUME, Settings, listed

SIDECAR_CONFIG: Final = "/etc/meshctl/sidecar.yaml"
ADMIN_PORT_NAME: Final = "meshctl-admin"

TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"

START_EVERY_S: Final = 1
START_WITHIN_S: Final = 120

_ABOUT_THE_POD: Final = {
    "MESHCTL_DISCOVERY_POD": "metadata.name",
    "MESHCTL_DISCOVERY_NAMESPACE": "metadata.namespace",
}

Container = dict[str, Any]


def init_container(settings: Settings, shared: Collection[str] = ()) -> Container:
    """Sets the rules and ends. Root with two capabilities, and nothing else. `shared` is as for `sidecar`."""
    skips = {
        "--skip-inbound-ports": settings.skip_inbound_ports,
        "--skip-outbound-ports": settings.skip_outbound_ports,
    }
    ports = {
        "--inbound-port": PORTS.inbound_port,
        "--outbound-port": PORTS.outbound_port,
        "--admin-port": PORTS.admin_port,
        "--proxy-uid": PORTS.proxy_uid,
    }
    return {
        "name": INIT,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["meshctl", "init-iptables"],
        "args": [
            *(f"{option}={number}" for option, number in ports.items()),
            *(f"{option}={listed(ranges)}" for option, ranges in skips.items() if ranges),
        ],
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_resources({"cpu": "10m", "memory": "32Mi"}, {"cpu": "500m", "memory": "96Mi"}, shared),
        # iptables' legacy backend takes its lock in /run.
        "volumeMounts": [{"name": VOLUME, "mountPath": "/run"}, _no_token()],
    }


def run_volume() -> dict[str, Any]:
    """The one place where the init container may write, and an empty one for both."""
    return {"name": VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}


def sidecar(
    settings: Settings, grace_s: int, probe_ports: Collection[int] = (), shared: Collection[str] = ()
) -> Container:
    """The proxy, which the kubelet asks about `probe_ports`. It shares the resources that the pod has as a whole.

    Native: an init container that goes on running, so that all containers after it find it ready.
    """
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    return {
        "name": SIDECAR,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        **({"restartPolicy": "Always"} if settings.native_sidecar else {}),
        # Not `meshctl proxy`: without the command line's imports it needs 1.5 MB less, in every pod.
        "command": ["python3", "-m", "proxy"],
        "args": ["--config", SIDECAR_CONFIG],
        "env": [*_variables(settings, grace_s, probe_ports), *map(_from_pod, _ABOUT_THE_POD.items())],
        "ports": [{"name": ADMIN_PORT_NAME, "containerPort": PORTS.admin_port, "protocol": "TCP"}],
        "securityContext": {
            "runAsUser": PORTS.proxy_uid,
            "runAsGroup": PORTS.proxy_uid,
            "runAsNonRoot": True,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_resources(requests, limits, shared),
        "startupProbe": _probe("/ready", START_EVERY_S, failures=START_WITHIN_S // START_EVERY_S),
        "readinessProbe": _probe("/ready", 5, failures=3),
        "livenessProbe": _probe("/live", 10, failures=3),
        # Containers start in order, each after the hook of the one before: the application finds a ready proxy.
        **(
            {} if settings.native_sidecar else {"lifecycle": {"postStart": {"exec": {"command": ["meshctl", "await"]}}}}
        ),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **({} if settings.discovery == "direct" else {"volumeMounts": [_no_token()]}),
    }


def _variables(settings: Settings, grace_s: int, probe_ports: Collection[int]) -> list[dict[str, Any]]:
    values = {
        # On all addresses of either family, as the kubelet and Prometheus ask from outside the pod.
        "MESHCTL_ADMIN_ADDRESS": f"[::]:{PORTS.admin_port}",
        "MESHCTL_ADMIN_PROBE_PORTS": ",".join(map(str, sorted(probe_ports))),
        "MESHCTL_SHUTDOWN_GRACE_S": str(grace_s),
        "MESHCTL_LOG_LEVEL": settings.log_level,
        "MESHCTL_ACCESS_LOG_PATH": "-" if settings.access_log else "",
        "MESHCTL_LISTENERS_OPAQUE_PORTS": listed(settings.opaque_ports or ()),
        "MESHCTL_DISCOVERY_MODE": settings.discovery,
        "MESHCTL_DISCOVERY_CONTROLLER": settings.controller_address if settings.discovery == "controller" else "",
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]


def _from_pod(item: tuple[str, str]) -> dict[str, Any]:
    name, path = item
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _no_token() -> dict[str, Any]:
    """Nothing where the API server would put the service account's token: it does so where nothing else is."""
    return {"name": VOLUME, "mountPath": TOKEN_PATH, "readOnly": True}


def _resources(
    requests: Mapping[str, str | None], limits: Mapping[str, str | None], shared: Collection[str]
) -> dict[str, Any]:
    """What is asked for of each resource, but for those that are shared: the pod's own figures have to cover them."""
    given = {
        name: held
        for name, values in (("requests", requests), ("limits", limits))
        if (held := {each: value for each, value in values.items() if value and each not in shared})
    }
    return {"resources": given} if given else {}


def _probe(path: str, every_s: int, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORTS.admin_port, "scheme": "HTTP"},
        "periodSeconds": every_s,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
