"""Faults that people really make or meet, put into an installation: each is a context manager that mends it again.

`FAULTS` says of each which check must find it, and what its hint must say.
"""

import base64
import contextlib
import copy
import datetime
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests.kube.api import Json, RefusedError
from tests.kube.installation import (
    APPLICATION_IP,
    CONTROLLER_IP,
    SHOP,
    Installation,
)
from tests.kube.installed import ACCOUNT as NAME
from tests.kube.installed import CONFIGURATION, LEASE, SECRET
from tests.kube.installed import NAMESPACE as OWN
from tests.kube.objects import NODE
from tests.support.waiting import wait_until
from tests.unit.check.facts import Authority

CORE = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
SERVED = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
BACKOFF = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Fault:
    """`check` finds it with `status`, and one of its hints has `hint` in it."""

    check: str
    hint: str
    seed: Callable[[Installation], AbstractContextManager[None]]
    status: str = "failed"


# ---- kinds of faults ----


def changed(path: str, change: Mapping[str, Any]) -> Callable[[Installation], AbstractContextManager[None]]:
    """An object is changed, by a merge patch."""

    @contextlib.contextmanager
    def seed(installation: Installation) -> Iterator[None]:
        before = _plain(installation.api.get(path))
        installation.api.patch(path, change)
        try:
            yield
        finally:
            wait_until(lambda: _put_back(installation, path, before), "it is as before")

    return seed


def _put_back(installation: Installation, path: str, before: Json) -> bool:
    """Whether it could be written, and nobody else wrote it meanwhile."""
    metadata = {**before["metadata"], "resourceVersion": installation.api.get(path)["metadata"]["resourceVersion"]}
    try:
        installation.api.request("PUT", path, {**before, "metadata": metadata})
    except RefusedError as error:
        if error.status != 409:
            raise
        return False
    return True


def deleted(path: str) -> Callable[[Installation], AbstractContextManager[None]]:
    """An object is gone; what it owns stays."""

    @contextlib.contextmanager
    def seed(installation: Installation) -> Iterator[None]:
        before = _plain(installation.api.get(path))
        installation.api.request("DELETE", path, {"propagationPolicy": "Orphan"})
        wait_until(lambda: installation.api.text("GET", path)[0] == 404, "it is gone")
        try:
            yield
        finally:
            installation.api.create(path.rpartition("/")[0], before)

    return seed


def reported(namespace: str, **status: Any) -> Callable[[Installation], AbstractContextManager[None]]:
    """The kubelet says this of the controller's or the application's pod."""

    @contextlib.contextmanager
    def seed(installation: Installation) -> Iterator[None]:
        own = namespace == OWN
        pod = installation.controller_pod if own else installation.application_pod
        installation.set_status(namespace, pod, **status)
        if own:
            wait_until(lambda: _ready_replicas(installation) == 0, "the deployment has heard")
        try:
            yield
        finally:
            installation.set_ready(namespace, pod, CONTROLLER_IP if own else APPLICATION_IP)
            wait_until(lambda: _ready_replicas(installation) == 1, "the deployment has heard")

    return seed


def there_is(
    namespace: str, *items: tuple[str, Json], annotations: Mapping[str, str] | None = None, **labels: str
) -> Callable[[Installation], AbstractContextManager[None]]:
    """A namespace with objects in it: (collection, object). It is annotated when they are there."""

    @contextlib.contextmanager
    def seed(installation: Installation) -> Iterator[None]:
        installation.make_namespace(namespace, {}, **labels)
        try:
            for collection, item in items:
                installation.api.create(f"{CORE}/{namespace}/{collection}", item)
            installation.api.patch(f"{CORE}/{namespace}", {"metadata": {"annotations": dict(annotations or {})}})
            yield
        finally:
            installation.api.delete(f"{CORE}/{namespace}/pods", grace_s=0)
            installation.api.delete(f"{CORE}/{namespace}")

    return seed


@contextlib.contextmanager
def controller_gone(installation: Installation) -> Iterator[None]:
    """Its process ended, and the API server still takes its pod for ready."""
    installation.kill_controller()
    try:
        yield
    finally:
        installation.restart_controller()


@contextlib.contextmanager
def connection_lost(installation: Installation) -> Iterator[None]:
    """The same, for a sidecar that had a connection to it."""
    installation.wait_until_connected()
    with controller_gone(installation):
        yield


def certified(make: Callable[[], tuple[bytes, bytes, bytes]]) -> Callable[[Installation], AbstractContextManager[None]]:
    """Another CA bundle, certificate and key, while no controller is there that would put them right."""

    @contextlib.contextmanager
    def seed(installation: Installation) -> Iterator[None]:
        authority, certificate, key = (base64.b64encode(each).decode() for each in make())
        secret = changed(SECRET, {"data": {"tls.crt": certificate, "tls.key": key}})
        bundle = _webhook(clientConfig={"caBundle": authority})
        with controller_gone(installation), bundle(installation), secret(installation):
            yield

    return seed


def _ready_replicas(installation: Installation) -> int:
    found = installation.api.get(f"/apis/apps/v1/namespaces/{OWN}/deployments/{NAME}")
    return int(found["status"].get("readyReplicas") or 0)


def _plain(item: Json) -> Json:
    """An object as somebody would write it."""
    metadata = {name: value for name, value in item["metadata"].items() if name not in SERVED}
    return {**{name: value for name, value in item.items() if name != "status"}, "metadata": metadata}


def _webhook(**changes: Any) -> Callable[[Installation], AbstractContextManager[None]]:
    """The one webhook of the configuration is changed."""

    @contextlib.contextmanager
    def seed(installation: Installation) -> Iterator[None]:
        hooks = copy.deepcopy(installation.api.get(CONFIGURATION)["webhooks"])
        for name, value in changes.items():
            hooks[0][name] = {**hooks[0][name], **value} if isinstance(value, dict) else value
        with changed(CONFIGURATION, {"webhooks": hooks})(installation):
            yield

    return seed


def _signed(trusted: Authority, signer: Authority, **certificate: Any) -> tuple[bytes, bytes, bytes]:
    return trusted.pem, *signer.signed(**certificate)


def _by_itself(**certificate: Any) -> tuple[bytes, bytes, bytes]:
    authority = Authority()
    return _signed(authority, authority, **certificate)


def _pod(name: str = "a", sidecar: bool = False, **spec: Any) -> tuple[str, Json]:
    init = [{"name": "meshctl-init", "image": "a"}, {"name": "meshctl-proxy", "image": "meshctl:tests"}]
    whole = {"nodeName": NODE, "containers": [{"name": "app", "image": "a"}], **spec}
    return "pods", {"metadata": {"name": name}, "spec": {**whole, **({"initContainers": init} if sidecar else {})}}


NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
SOON = NOW + DAY
ENABLED = {"meshctl.io/inject": "enabled"}
PROBLEM = {"conditions": [{"type": "Ready", "status": "False"}]}
CLASH = [{"name": "app", "image": "a", "ports": [{"containerPort": 4143}]}]
CONTRADICTION = {"name": "grpc", "port": 80, "appProtocol": "tcp"}
GONE = {"spec": {"holderIdentity": "gone_1", "renewTime": "2026-01-01T00:00:00.000000Z"}}

FAULTS = {
    "the controller's image cannot be pulled": Fault(
        "controller-ready",
        "see that the image exists",
        reported(OWN, **PROBLEM, containerStatuses=[{"name": "controller", "ready": False, "state": BACKOFF}]),
    ),
    "the controller's deployment is gone": Fault(
        "controller-exists", "meshctl install", deleted(f"/apis/apps/v1/namespaces/{OWN}/deployments/{NAME}")
    ),
    "the controller has lost its rights": Fault(
        "controller-permissions", "meshctl upgrade", deleted(f"{RBAC}/clusterrolebindings/{NAME}")
    ),
    "its role is not complete": Fault(
        "controller-permissions", "meshctl upgrade", changed(f"{RBAC}/clusterroles/{NAME}", {"rules": []})
    ),
    "its settings are wrong": Fault(
        "controller-settings",
        f"kubectl edit -n {OWN} configmap",
        changed(f"{CORE}/{OWN}/configmaps/{NAME}", {"data": {"controller.yaml": "injection: {imge: a}"}}),
    ),
    "its service selects other pods": Fault(
        "controller-service",
        "meshctl upgrade",
        changed(f"{CORE}/{OWN}/services/{NAME}", {"spec": {"selector": {"app": "other"}}}),
    ),
    "a pod leads that is gone": Fault("controller-leader", f"kubectl delete -n {OWN} lease", changed(LEASE, GONE)),
    "the webhook's configuration is gone": Fault("webhook-exists", "meshctl upgrade", deleted(CONFIGURATION)),
    "the webhook leads to another service": Fault(
        "webhook-target",
        "meshctl upgrade",
        _webhook(clientConfig={"service": {"namespace": "old", "name": NAME, "path": "/inject", "port": 443}}),
    ),
    "the webhook is not called for new pods": Fault(
        "webhook-rules",
        "meshctl upgrade",
        _webhook(
            rules=[{"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        ),
    ),
    "the webhook fails closed": Fault(
        "webhook-rules", "set it to Ignore", _webhook(failurePolicy="Fail"), status="warning"
    ),
    "another authority is trusted": Fault(
        "webhook-certificate", "kubectl delete secret", certified(lambda: _signed(Authority(), Authority()))
    ),
    "the certificate has expired": Fault(
        "webhook-certificate",
        "kubectl delete secret",
        certified(lambda: _by_itself(begins=NOW - 2 * DAY, ends=NOW - DAY)),
    ),
    "the certificate is for another name": Fault(
        "webhook-certificate", "kubectl delete secret", certified(lambda: _by_itself(name="else.svc"))
    ),
    "the certificate is not renewed": Fault(
        "webhook-certificate-lasts",
        "kubectl delete secret",
        certified(lambda: _by_itself(begins=NOW - 6 * DAY, ends=SOON)),
    ),
    "the API server does not reach the controller": Fault("webhook-called", "port 8443", controller_gone),
    "Pod Security refuses the sidecar": Fault(
        "webhook-called",
        "pod-security.kubernetes.io/enforce=privileged",
        there_is("strict", annotations=ENABLED, **{"pod-security.kubernetes.io/enforce": "restricted"}),
    ),
    "a namespace's annotation means nothing": Fault(
        "namespace-annotations",
        "kubectl annotate namespace vague --overwrite meshctl.io/inject=enabled",
        there_is("vague", annotations={"meshctl.io/inject": "true"}),
    ),
    "a pod is older than its namespace's annotation": Fault(
        "pods-injected", "delete the pod in namespace late", there_is("late", _pod(), annotations=ENABLED)
    ),
    "a pod with the node's network": Fault(
        "pods-injected",
        "take hostNetwork out of the pod",
        there_is("hosted", _pod(hostNetwork=True), annotations=ENABLED),
    ),
    "a pod on the proxy's port": Fault(
        "port-clashes", "let it use other ports", there_is("clash", _pod(sidecar=True, containers=CLASH))
    ),
    "an old sidecar": Fault(
        "sidecars-version",
        f"kubectl rollout restart -n {SHOP} deployment/web",
        changed(
            f"{CORE}/{OWN}/configmaps/{NAME}", {"data": {"controller.yaml": "injection: {image: 'meshctl:newer'}"}}
        ),
        status="warning",
    ),
    "a sidecar that cannot start": Fault(
        "sidecars-ready",
        "see that the image exists",
        reported(
            SHOP,
            initContainerStatuses=[{"name": "meshctl-proxy", "ready": False, "state": BACKOFF}],
        ),
    ),
    "connections are not redirected": Fault(
        "sidecars-redirected",
        "NET_ADMIN and NET_RAW",
        reported(SHOP, initContainerStatuses=[{"name": "meshctl-init", "state": {"terminated": {"exitCode": 1}}}]),
    ),
    "a sidecar has lost the controller": Fault("sidecars-connected", "reach port 8086", connection_lost),
    "a service that contradicts itself": Fault(
        "service-protocols",
        "kubectl edit service -n odd web",
        there_is("odd", ("services", {"metadata": {"name": "web"}, "spec": {"ports": [CONTRADICTION]}})),
        status="warning",
    ),
}
