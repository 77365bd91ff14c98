"""What the configuration says of the Kubernetes API: how it is reached, and which Service a cluster is.

Knows nothing of how endpoints are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from proxy.schema import INVALID, Errors, Nullable, Problem, described, key, record, text

NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
name: Final = text(NAME, "a name in lower case, such as voting")
"""A check: what a Service or a namespace may be called (RFC 1123, a label)."""


def service_port(value: object, path: str, errors: Errors) -> Any:
    """A check: the number or the name of a Service's port."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65_535:
        return value
    if isinstance(value, str) and not value.isdecimal():
        return text(NAME, "a port from 1 to 65535, or the name of one")(value, path, errors)
    errors.add(path, f"must be a port from 1 to 65535, or the name of one, not {described(value)}")
    return INVALID


@record
class KubernetesServiceConfig:
    """A cluster that is a port of a Service."""

    service: str = key(name)
    namespace: str = key(name)
    port: int | str = key(service_port)


@record
class KubernetesConfig:
    """How the API server is reached: with a kubeconfig, or else with the pod's service account."""

    kubeconfig: str | None = key(Nullable(text(r"[^\0]+", "the path of a kubeconfig file")), default=None)
    context: str | None = key(Nullable(text(r"[^\0]+", "the name of a context in the kubeconfig")), default=None)
    zone: str | None = key(text(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", "a zone's name"), default=None)

    def problems(self) -> Iterator[Problem]:
        if self.context is not None and self.kubeconfig is None:
            yield "context", "needs `kubeconfig`"
