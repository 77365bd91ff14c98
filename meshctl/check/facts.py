"""What is known about a cluster: objects as the API server gives them, and what was asked of controller and sidecars.

Each fact starts as `Unread` and is set by `gather`; None means that the object does not exist. Plain data, pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from injector.config import ControllerConfig
from meshctl.check.finding import Unread

Json = Mapping[str, Any]
Key = tuple[str, str]
"""(namespace, name)."""

NOT_READ: Final = Unread("it was not read")

CONTROLLER: Final = "meshctl-controller"
"""The name of the controller's Deployment, ServiceAccount, Service, ConfigMap, Lease and roles."""
INJECTOR: Final = "meshctl-injector"
WEBHOOK: Final = "injector.meshctl.io"
WEBHOOK_PATH: Final = "/inject"
CERTIFICATE_SECRET: Final = "meshctl-webhook-tls"
ADMIN_PORT: Final = 9990
COMPONENT: Final = "app.kubernetes.io/component=controller,app.kubernetes.io/name=meshctl"
OUTSIDE: Final = ("kube-system", "kube-node-lease")
"""Namespaces that are never injected."""


@dataclass(frozen=True, slots=True)
class Permission:
    """To do `verb` with `resource` ("deployments.apps"): in one namespace or everywhere, of one name or of any."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """What came of a pod that was created as a trial, and not kept: its injection, or why the server refused it."""

    injected: bool
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar said on its admin port. `connected`: to the controller; None if it does not use one."""

    version: str
    intercepts: frozenset[str]
    connected: bool | None


@dataclass(slots=True, kw_only=True)
class Facts:
    """See the module. `now_s` is the time when all was read, in seconds since 1970."""

    namespace: str
    cli_version: str
    now_s: float

    server_version: Json | Unread = NOT_READ
    may_not: Sequence[Permission] | Unread = NOT_READ
    """What we would need to install and may not."""

    installed_in: Json | Unread | None = NOT_READ
    """The Namespace."""
    deployment: Json | Unread | None = NOT_READ
    controller_pods: Sequence[Json] | Unread = NOT_READ
    service_account: Json | Unread | None = NOT_READ
    controller_may_not: Sequence[Permission] | Unread = NOT_READ
    roles: Mapping[str, Json | None] | Unread = NOT_READ
    """The controller's roles and bindings by "kind/name"."""
    service: Json | Unread | None = NOT_READ
    slices: Sequence[Json] | Unread = NOT_READ
    settings: Json | Unread | None = NOT_READ
    """The ConfigMap."""
    lease: Json | Unread | None = NOT_READ
    controller_versions: Mapping[str, str | Unread] | Unread = NOT_READ
    """By the names of ready controller pods."""

    webhook: Json | Unread | None = NOT_READ
    """The MutatingWebhookConfiguration."""
    certificates: Json | Unread | None = NOT_READ
    """The Secret."""
    admissions: Mapping[str, Admission | Unread] | Unread = NOT_READ
    """By namespace."""

    namespaces: Sequence[Json] | Unread = NOT_READ
    pods: Sequence[Json] | Unread = NOT_READ
    sidecars: Mapping[Key, Sidecar | Unread] | Unread = NOT_READ
    not_asked: int = 0
    """Sidecars that were not asked, as there are very many."""
    services: Sequence[Json] | Unread = NOT_READ

    config: ControllerConfig | None = None
    """What controller.yaml in the ConfigMap says, None if that is not known."""
    config_errors: Sequence[str] = ()

    @property
    def only(self) -> tuple[str, ...]:
        """The namespaces that the controller is for; none of them means all."""
        return self.config.namespaces if self.config is not None else ()

    @property
    def by_default(self) -> bool:
        """Whether pods get a sidecar that nobody asked for."""
        return self.config is not None and self.config.injection.enabled_by_default

    @property
    def makes_certificates(self) -> bool:
        """Whether the controller makes the webhook's certificates itself; one of its pods then leads."""
        return self.has_webhook and (self.config is None or self.config.webhook.certificates == "self")

    @property
    def has_webhook(self) -> bool:
        """Whether pods are injected when they are created."""
        return self.config is None or self.config.webhook.enabled


def metadata(item: Json) -> Json:
    found: Json = item.get("metadata") or {}
    return found


def name_of(item: Json) -> str:
    return str(metadata(item).get("name") or "")


def key_of(item: Json) -> Key:
    return str(metadata(item).get("namespace") or ""), name_of(item)


def annotations_of(item: Json) -> Json:
    found: Json = metadata(item).get("annotations") or {}
    return found


def part(item: Json | None, *path: str) -> Any:
    """What is at `path` in nested mappings; an empty mapping where nothing is."""
    here: Any = item or {}
    for word in path:
        here = (here.get(word) if isinstance(here, Mapping) else None) or {}
    return here


def counted(names: Iterable[str], most: int = 5, comma: str = ", ") -> str:
    """ "a, b and 3 more"."""
    found = list(names)
    shown = comma.join(found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
