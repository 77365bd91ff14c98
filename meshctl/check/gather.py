"""Reads the facts of each stage from the cluster, much of it at a time. What cannot be read is `Unread`, with why.

Nothing is changed: what is created is created as a trial (`dryRun`), reviews of permissions are not kept by the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import yaml

from injector.config import parse
from injector.settings import INJECT
from meshctl.check import selection
from meshctl.check.facts import (
    ADMIN_PORT,
    CERTIFICATE_SECRET,
    COMPONENT,
    CONTROLLER,
    INJECTOR,
    Admission,
    Facts,
    Json,
    Key,
    Permission,
    key_of,
    name_of,
    part,
)
from meshctl.check.finding import Unread
from meshctl.check.permissions import controller_needs, installing_needs
from meshctl.check.podstate import is_ready
from meshctl.check.probe import sidecar
from meshctl.cluster import Cluster, ClusterError, RefusedError
from proxy.config import ConfigError

AT_ONCE: Final = 16
MOST_ASKED: Final = 200  # sidecars
MOST_TRIED: Final = 20  # namespaces

CORE: Final = "/api/v1"
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
AUTHORIZATION: Final = "/apis/authorization.k8s.io/v1"
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


async def kubernetes(cluster: Cluster, facts: Facts) -> None:
    """Whether there is a cluster; what to do if not is told with the reason."""
    try:
        facts.server_version = await cluster.get("/version")
    except ClusterError as error:
        facts.server_version = Unread(str(error), error.hint)


async def permissions(cluster: Cluster, facts: Facts) -> None:
    """What we may do, and whether it is installed already."""
    await _fill(
        facts,
        may_not=_denied(cluster, installing_needs(facts.namespace)),
        webhook=cluster.find(f"{ADMISSION}/mutatingwebhookconfigurations/{INJECTOR}"),
        deployment=cluster.find(f"/apis/apps/v1/namespaces/{facts.namespace}/deployments/{CONTROLLER}"),
    )


async def controller(cluster: Cluster, facts: Facts) -> None:
    in_namespace = f"/namespaces/{facts.namespace}"
    own = CORE + in_namespace
    slices = {"labelSelector": f"kubernetes.io/service-name={CONTROLLER}"}
    account = f"system:serviceaccount:{facts.namespace}:{CONTROLLER}"
    await _fill(
        facts,
        installed_in=cluster.find(own),
        deployment=cluster.find(f"/apis/apps/v1{in_namespace}/deployments/{CONTROLLER}"),
        controller_pods=cluster.list_all(f"{own}/pods", {"labelSelector": COMPONENT}),
        service_account=cluster.find(f"{own}/serviceaccounts/{CONTROLLER}"),
        service=cluster.find(f"{own}/services/{CONTROLLER}"),
        slices=cluster.list_all(f"/apis/discovery.k8s.io/v1{in_namespace}/endpointslices", slices),
        settings=cluster.find(f"{own}/configmaps/{CONTROLLER}"),
        lease=cluster.find(f"/apis/coordination.k8s.io/v1{in_namespace}/leases/{CONTROLLER}"),
        roles=_roles(cluster, facts.namespace),
    )
    _set_config(facts)
    await _fill(facts, controller_may_not=_denied(cluster, controller_needs(facts.namespace, facts.config), account))
    facts.controller_versions = await _versions(cluster, facts.controller_pods)


async def webhook(cluster: Cluster, facts: Facts) -> None:
    await _fill(
        facts,
        webhook=cluster.find(f"{ADMISSION}/mutatingwebhookconfigurations/{INJECTOR}"),
        certificates=cluster.find(f"{CORE}/namespaces/{facts.namespace}/secrets/{CERTIFICATE_SECRET}"),
        namespaces=_namespaces(cluster, facts.only),
    )
    facts.admissions = await _admissions(cluster, facts)


async def pods(cluster: Cluster, facts: Facts) -> None:
    facts.pods = await read(_listed(cluster, "pods", facts.only))
    if isinstance(facts.pods, Unread):
        facts.sidecars = facts.pods
        return
    asked = [key_of(pod) for pod in facts.pods if selection.injected(pod) and _runs(pod)]
    facts.not_asked = max(0, len(asked) - MOST_ASKED)
    facts.sidecars = await _each(asked[:MOST_ASKED], lambda key: sidecar(cluster, key))


async def services(cluster: Cluster, facts: Facts) -> None:
    facts.services = await read(_listed(cluster, "services", facts.only))


async def read(answer: Awaitable[T]) -> T | Unread:
    """What was answered, or why there was no answer."""
    try:
        return await answer
    except ClusterError as error:
        return Unread(str(error))


async def _namespaces(cluster: Cluster, only: Sequence[str]) -> list[Json]:
    """The namespaces that the controller is for. If it is for some, we may not be allowed to see others."""
    if not only:
        return await cluster.list_all(f"{CORE}/namespaces")
    found = await asyncio.gather(*(cluster.find(f"{CORE}/namespaces/{name}") for name in only))
    return [each for each in found if each is not None]


async def _listed(cluster: Cluster, resource: str, only: Sequence[str]) -> list[Json]:
    if not only:
        return await cluster.list_all(f"{CORE}/{resource}")
    found = await asyncio.gather(*(cluster.list_all(f"{CORE}/namespaces/{name}/{resource}") for name in only))
    return [item for items in found for item in items]


async def _fill(facts: Facts, **answers: Awaitable[Any]) -> None:
    """Sets the facts of these names, all read at a time."""
    read_all = await asyncio.gather(*map(read, answers.values()))
    for name, answer in zip(answers, read_all, strict=True):
        setattr(facts, name, answer)


async def _each(keys: Iterable[K], ask: Callable[[K], Awaitable[V]]) -> dict[K, V | Unread]:
    """The answers by key, at most AT_ONCE asked for at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(key: K) -> tuple[K, V | Unread]:
        async with turn:
            return key, await read(ask(key))

    return dict(await asyncio.gather(*map(one, keys)))


async def _denied(cluster: Cluster, needed: Sequence[Permission], account: str = "") -> list[Permission]:
    """Those of `needed` that we do not have, or that the user `account` does not."""
    kind = "SubjectAccessReview" if account else "SelfSubjectAccessReview"
    path = f"{AUTHORIZATION}/{kind.lower()}s"

    async def allowed(permission: Permission) -> bool:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": _asked(permission, account)}
        return bool(part(await cluster.create(path, body), "status").get("allowed"))

    answers = await _each(needed, allowed)
    unread = next((each for each in answers.values() if isinstance(each, Unread)), None)
    if unread is not None:
        raise ClusterError(unread.why)
    return [permission for permission, is_allowed in answers.items() if not is_allowed]


def _asked(permission: Permission, account: str) -> dict[str, Any]:
    resource, _, group = permission.resource.partition(".")
    attributes = {"verb": permission.verb, "resource": resource, "group": group, "namespace": permission.namespace}
    if permission.name:
        attributes["name"] = permission.name
    return {"resourceAttributes": attributes, **({"user": account} if account else {})}


async def _roles(cluster: Cluster, namespace: str) -> dict[str, Json | None]:
    paths = {
        f"ClusterRole {CONTROLLER}": f"{RBAC}/clusterroles/{CONTROLLER}",
        f"ClusterRoleBinding {CONTROLLER}": f"{RBAC}/clusterrolebindings/{CONTROLLER}",
        f"Role {namespace}/{CONTROLLER}": f"{RBAC}/namespaces/{namespace}/roles/{CONTROLLER}",
        f"RoleBinding {namespace}/{CONTROLLER}": f"{RBAC}/namespaces/{namespace}/rolebindings/{CONTROLLER}",
    }
    found = await asyncio.gather(*map(cluster.find, paths.values()))
    return dict(zip(paths, found, strict=True))


def _set_config(facts: Facts) -> None:
    """Understands controller.yaml, by the controller's own reader."""
    text = None if isinstance(facts.settings, Unread) else part(facts.settings, "data").get("controller.yaml")
    try:
        facts.config = parse(text) if isinstance(text, str) else None
    except ConfigError as error:
        facts.config_errors = error.errors


async def _versions(cluster: Cluster, pods: Sequence[Json] | Unread) -> dict[str, str | Unread] | Unread:
    if isinstance(pods, Unread):
        return pods
    ready = {name_of(pod): key_of(pod) for pod in pods if is_ready(pod)}

    async def version(name: str) -> str:
        return await controller_version(cluster, ready[name])

    return await _each(ready, version)


async def controller_version(cluster: Cluster, pod: Key) -> str:
    """What a controller pod says its version is. Raises ClusterError."""
    said = yaml.safe_load(await cluster.pod_page(pod, ADMIN_PORT, "/version"))
    return str(said.get("version")) if isinstance(said, dict) else "unknown"


def _runs(pod: Json) -> bool:
    return bool(part(pod, "status").get("phase") == "Running" and part(pod, "status").get("podIP"))


async def _admissions(cluster: Cluster, facts: Facts) -> Mapping[str, Admission | Unread] | Unread:
    """What comes of a trial pod where sidecars are asked for; if that is nowhere, in a namespace that is watched."""
    if isinstance(facts.namespaces, Unread):
        return facts.namespaces
    if not facts.has_webhook:
        return {}
    wanted = [name_of(each) for each in facts.namespaces if selection.enabled(facts, each)]
    if not wanted:
        usual = [name_of(each) for each in facts.namespaces if selection.watched(facts, each)]
        wanted = [name for name in usual if name == "default"] or usual[:1]
    return await _each(wanted[:MOST_TRIED], lambda name: _admission(cluster, name))


async def _admission(cluster: Cluster, namespace: str) -> Admission:
    metadata = {"generateName": "meshctl-check-", "annotations": {INJECT: "enabled"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "check", "image": "meshctl-check", **_HARMLESS}],
        },
    }
    try:
        made = await cluster.create(f"{CORE}/namespaces/{namespace}/pods", pod, dry_run=True)
    except RefusedError as error:
        # 403 is what admission says, too; whether we may create pods at all is another question.
        if error.status != 403 or "cannot create resource" in str(error):
            raise
        return Admission(injected=False, refused=str(error))
    return Admission(injected=selection.injected(made))


_HARMLESS: Final = {
    "resources": {name: {"cpu": "1m", "memory": "1Mi"} for name in ("requests", "limits")},
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 65534},
}
"""What the strictest Pod Security standard wants: so if the pod is refused, it is for its sidecar."""
