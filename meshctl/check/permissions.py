"""What somebody needs to be allowed to install, and what the controller needs to be allowed to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from injector.config import ControllerConfig
from meshctl.check.facts import CERTIFICATE_SECRET, CONTROLLER, INJECTOR, Permission, counted

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
_FOLLOWS: Final = ("get", "list", "watch")


def installing_needs(namespace: str) -> tuple[Permission, ...]:
    """To create and to change all that is installed, as `kubectl apply` does."""
    verbs = ("create", "patch")
    return (*_each(verbs, _INSTALLED, ("",)), *_each(verbs, _INSTALLED_IN_NAMESPACE, (namespace,)))


def controller_needs(namespace: str, config: ControllerConfig | None) -> tuple[Permission, ...]:
    """To follow Services and slices, and with the webhook to inject, to lead and to keep its certificate."""
    only = config.namespaces if config is not None and config.namespaces else ("",)
    webhook = config is None or config.webhook.enabled
    makes_certificates = webhook and (config is None or config.webhook.certificates == "self")
    return (
        *(_each(_FOLLOWS, ("services", "endpointslices.discovery.k8s.io"), only)),
        *(_injects(namespace, only) if webhook else ()),
        *(_keeps(namespace) if makes_certificates else ()),
    )


def _injects(namespace: str, only: Sequence[str]) -> Iterator[Permission]:
    for name in only:
        yield from _each(_FOLLOWS, ("namespaces",), ("",), name)
    yield from _each(("create",), ("events",), only)
    yield from _each(("get",), ("jobs.batch", "replicasets.apps"), only)
    yield from _each(_FOLLOWS, ("secrets",), (namespace,), CERTIFICATE_SECRET)


def _keeps(namespace: str) -> Iterator[Permission]:
    configurations = ("mutatingwebhookconfigurations.admissionregistration.k8s.io",)
    yield from _each(("create",), ("leases.coordination.k8s.io", "secrets"), (namespace,))
    yield from _each(("get", "update"), ("leases.coordination.k8s.io",), (namespace,), CONTROLLER)
    yield from _each(("update",), ("secrets",), (namespace,), CERTIFICATE_SECRET)
    yield from _each((*_FOLLOWS, "patch"), configurations, ("",), INJECTOR)


def _each(
    verbs: Sequence[str], resources: Sequence[str], namespaces: Sequence[str], name: str = ""
) -> Iterator[Permission]:
    for resource in resources:
        for namespace in namespaces:
            yield from (Permission(verb, resource, namespace, name) for verb in verbs)


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
