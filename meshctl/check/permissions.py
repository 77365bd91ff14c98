"""What somebody needs to be allowed to install, and what the controller needs to be allowed to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshctl.check.facts import Permission, counted

_INSTALLED: Final = (
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "namespaces",
)
_INSTALLED_IN_NAMESPACE: Final = (
    "configmaps",
    "deployments.apps",
    "poddisruptionbudgets.policy",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "serviceaccounts",
    "services",
)
_READS: Final = ("get", "list", "watch")


def installing_needs(namespace: str) -> tuple[Permission, ...]:
    """To create and to change all that is installed, as `kubectl apply` does."""
    return (
        *(Permission(verb, resource) for resource in _INSTALLED for verb in ("create", "patch")),
        *(
            Permission(verb, resource, namespace)
            for resource in _INSTALLED_IN_NAMESPACE
            for verb in ("create", "patch")
        ),
    )


def controller_needs(namespace: str) -> tuple[Permission, ...]:
    return (
        *(Permission(verb, resource) for resource in ("services", "namespaces") for verb in _READS),
        *(Permission(verb, "endpointslices.discovery.k8s.io") for verb in _READS),
        *(Permission(verb, "mutatingwebhookconfigurations.admissionregistration.k8s.io") for verb in ("get", "patch")),
        Permission("create", "events"),
        *(Permission(verb, "secrets", namespace) for verb in ("get", "create", "update")),
        *(Permission(verb, "leases.coordination.k8s.io", namespace) for verb in ("get", "create", "update")),
    )


def listed(permissions: Iterable[Permission]) -> str:
    """In words: "create, patch deployments.apps in meshctl; get services"; empty if there are none."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for each in permissions:
        verbs.setdefault((each.resource, each.namespace), []).append(each.verb)
    return counted(
        (
            f"{', '.join(does)} {resource}{f' in {namespace}' if namespace else ''}"
            for (resource, namespace), does in verbs.items()
        ),
        12,
        "; ",
    )
