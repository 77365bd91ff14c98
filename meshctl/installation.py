"""An installation: its objects in order, what of it is found in a cluster, and the settings it was made with.

The objects are the chart's (`meshctl.chart`). Two more do what Helm does by itself: the Namespace, and a ConfigMap that
keeps the settings, so that an upgrade has them. Not among them is what the controller makes for itself, the Secret of
its certificate, its Lease and the webhook's caBundle: applied again, the manifest must leave those alone.

An object belongs to the installation of a namespace by its labels (`labels`), which nothing that Helm made has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshctl.chart.functions import to_yaml
from meshctl.chart.render import ORDER, SERVICE, Manifest, app_version, render
from meshctl.chart.values import check, defaults, merged, read, without_nulls

if TYPE_CHECKING:
    from meshctl.cluster import Cluster

VALUES: Final = "meshctl-values"
VALUES_KEY: Final = "values.yaml"
CERTIFICATE: Final = "meshctl-webhook-tls"
AUTHORITY_KEY: Final = "ca.key"  # in a certificate's Secret that the controller made, and in no other
LEASE: Final = "meshctl-controller"

_RBAC: Final = "rbac.authorization.k8s.io/v1"
COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "Namespace": ("v1", "namespaces"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "ConfigMap": ("v1", "configmaps"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
    "ClusterRole": (_RBAC, "clusterroles"),
    "ClusterRoleBinding": (_RBAC, "clusterrolebindings"),
    "Role": (_RBAC, "roles"),
    "RoleBinding": (_RBAC, "rolebindings"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Deployment": ("apps/v1", "deployments"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Issuer": ("cert-manager.io/v1", "issuers"),
    "Certificate": ("cert-manager.io/v1", "certificates"),
    "PodMonitor": ("monitoring.coreos.com/v1", "podmonitors"),
    "MutatingWebhookConfiguration": ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations"),
}
"""Of each kind: its API version, and the name of its collection."""

_TAKEN_DOWN: Final = (
    # First the webhook, so that no pod waits for one that is gone. The Secret and the Lease when nobody may write them
    # anew, the settings near the end: until then what is left can be asked for again.
    *(kind for kind in reversed(ORDER) if kind != "ConfigMap"),
    "Secret",
    "Lease",
    "ConfigMap",
    "Namespace",
)
# Of what is always there, or comes and goes with something else.
_NOBODYS: Final = frozenset({"events", "endpoints", "endpointslices"})
_MADE_BY_KUBERNETES: Final = frozenset(
    {"configmaps/kube-root-ca.crt", "configmaps/openshift-service-ca.crt", "serviceaccounts/default"}
)


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """Which object: `namespace` is empty for one of the whole cluster."""

    kind: str
    namespace: str
    name: str

    def object(self) -> dict[str, Any]:
        """As much of it as `kubectl delete` needs."""
        metadata = {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}
        return {"apiVersion": COLLECTIONS[self.kind][0], "kind": self.kind, "metadata": metadata}

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}" + (f" in namespace {self.namespace}" if self.namespace else "")


def manifests(given: Mapping[str, Any], namespace: str) -> list[Manifest]:
    """All objects, in the order in which they are applied. Raises `ValuesError`."""
    given = without_nulls(given)
    values = merged(defaults(), given)
    check(values)
    own = [_settings(given, namespace)]
    if not values["namespaceOnly"]:
        own.insert(0, _object("v1", "Namespace", {"name": namespace, "labels": labels(namespace)}))
    return [*(Manifest(to_yaml(each, sort_keys=False) + "\n", each) for each in own), *render(values, namespace)]


def labels(namespace: str) -> dict[str, str]:
    """By which the objects of an installation are found."""
    return {
        "app.kubernetes.io/name": "meshctl",
        "app.kubernetes.io/instance": namespace,
        "app.kubernetes.io/managed-by": SERVICE,
    }


def identity(held: Mapping[str, Any]) -> Identity:
    """Which object `held` is."""
    metadata = held["metadata"]
    return Identity(held["kind"], metadata.get("namespace", ""), metadata["name"])


async def settings(cluster: Cluster, namespace: str) -> dict[str, Any] | None:
    """What the installation was made with, None if there is none. Raises ClusterError and `ValuesError`."""
    found = await cluster.find(f"/api/v1/namespaces/{namespace}/configmaps/{VALUES}")
    return None if found is None else read(str((found.get("data") or {}).get(VALUES_KEY, "")))


async def parts(cluster: Cluster, namespace: str) -> list[Identity]:
    """What is there of an installation, in the order in which it is taken down. Raises ClusterError."""
    given = await settings(cluster, namespace) or {}
    within = namespace if given.get("namespaceOnly") else ""
    found = [each for kind in _TAKEN_DOWN for each in await _labelled(cluster, kind, namespace, within)]
    for kind, name in (("Secret", CERTIFICATE), ("Lease", LEASE)):
        made = await cluster.find(f"{_path(kind, namespace)}/{name}")
        if made is not None and (kind == "Lease" or AUTHORITY_KEY in (made.get("data") or {})):
            found.append(Identity(kind, namespace, name))
    return sorted(set(found), key=lambda each: (_TAKEN_DOWN.index(each.kind), each))


async def others(cluster: Cluster, namespace: str, parts: Iterable[Identity]) -> list[str]:
    """What else is in the installation's namespace, of any kind, as "services/shop". Raises ClusterError."""
    own = {each.name for each in parts if each.namespace == namespace}
    found = []
    for root, plural in await _kinds(cluster):
        for item in await cluster.list_all(f"{root}/namespaces/{namespace}/{plural}"):
            metadata = item["metadata"]
            is_ours = metadata["name"] in own or labels(namespace).items() <= (metadata.get("labels") or {}).items()
            name = f"{plural}/{metadata['name']}"
            if not is_ours and name not in _MADE_BY_KUBERNETES and not metadata.get("ownerReferences"):
                found.append(name)
    return found


async def _kinds(cluster: Cluster) -> list[tuple[str, str]]:
    """(path, plural) of every kind of object that a namespace can hold in this cluster. Raises ClusterError."""
    from meshctl.cluster import RefusedError

    groups = (await cluster.get("/apis")).get("groups") or ()
    found = []
    for version in ("v1", *(group["preferredVersion"]["groupVersion"] for group in groups)):
        try:
            resources = (await cluster.get(_root(version))).get("resources") or ()
        except RefusedError as error:
            if error.status not in (404, 503):  # an extension of the API that is not there now
                raise
            continue
        listed = [each["name"] for each in resources if each["namespaced"] and "list" in each["verbs"]]
        found += [(_root(version), plural) for plural in listed if plural not in _NOBODYS]
    return found


async def _labelled(cluster: Cluster, kind: str, namespace: str, within: str) -> list[Identity]:
    """The objects of a kind with the installation's labels; only those in namespace `within`, if it is not empty."""
    from meshctl.cluster import RefusedError

    if within and kind in ("Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"):
        return []
    selector = ",".join(f"{name}={value}" for name, value in labels(namespace).items())
    try:
        items = await cluster.list_all(_path(kind, within), {"labelSelector": selector})
    except RefusedError as error:
        if error.status != 404:
            raise
        return []  # a kind that this cluster does not know
    return [identity({"kind": kind, **item}) for item in items]


def _settings(given: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    metadata = {"name": VALUES, "namespace": namespace, "labels": labels(namespace)}
    return _object("v1", "ConfigMap", metadata) | {"data": {VALUES_KEY: to_yaml(given) + "\n"}}


def _object(version: str, kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    made = {**metadata["labels"], "app.kubernetes.io/version": app_version()}
    return {"apiVersion": version, "kind": kind, "metadata": {**metadata, "labels": made}}


def _path(kind: str, namespace: str) -> str:
    version, plural = COLLECTIONS[kind]
    return f"{_root(version)}/namespaces/{namespace}/{plural}" if namespace else f"{_root(version)}/{plural}"


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
