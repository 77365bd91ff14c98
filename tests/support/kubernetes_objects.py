"""Services and EndpointSlices as the Kubernetes API writes them, with what a test does not care about filled in."""

from collections.abc import Sequence
from typing import Any

Object = dict[str, Any]


def service(
    name: str = "voting",
    namespace: str = "emojivote",
    ports: Sequence[Object] = ({"name": "grpc", "port": 8080},),
    ips: Sequence[str] = ("10.96.0.1",),
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Without `ips` it is headless."""
    families = ["IPv6" if ":" in ip else "IPv4" for ip in ips] or ["IPv4"]
    addresses = list(ips) or ["None"]
    return {
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": {
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ipFamilies": families,
            "ports": [{"protocol": "TCP", **port} for port in ports],
            **spec,
        },
    }


def endpoint(address: str, pod: str = "", *, uid: str | None = None, **rest: Any) -> Object:
    """A ready one; its pod's uid is "uid-" and the pod's name unless said otherwise."""
    target = {"kind": "Pod", "name": pod, "uid": f"uid-{pod}" if uid is None else uid}
    conditions = {name: rest.pop(name) for name in ("ready", "serving", "terminating") if name in rest}
    item = {"addresses": [address], "conditions": conditions or {"ready": True, "serving": True, "terminating": False}}
    if zones := rest.pop("zones", None):
        item["hints"] = {"forZones": [{"name": zone} for zone in zones]}
    return {**item, **({"targetRef": target} if pod else {}), **rest}


def endpoint_slice(
    name: str,
    *endpoints: Object,
    service: str = "voting",
    namespace: str = "emojivote",
    ports: Sequence[Object] | None = ({"name": "grpc", "port": 8080},),
    family: str = "IPv4",
) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": None if ports is None else [{"protocol": "TCP", **port} for port in ports],
    }
