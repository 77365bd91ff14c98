"""The kinds of objects that hold pods, and where in them the pod is.

Pure. An object is plain data as `kubectl` reads it. A List holds further objects, which are found in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from injector.report import Outcome, Reason, left

_TEMPLATE: Final = ("spec", "template")

PODS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}
"""Where the pod is, by (group, kind)."""

RUNS_TO_ITS_END: Final = ("Job", "CronJob")


@dataclass(frozen=True, slots=True)
class Workload:
    """An object found at `path` in a document, and the way from there to its pod."""

    path: tuple[str | int, ...]
    held: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.held.get("kind", "") or "(no kind)")

    @property
    def namespace(self) -> str:
        return _text(self.held, "namespace")

    @property
    def name(self) -> str:
        """As "Deployment/emojivote/web"; the namespace is left out where none is given."""
        name = _text(self.held, "name") or _text(self.held, "generateName") or "(no name)"
        return "/".join(part for part in (self.kind, self.namespace, name) if part)

    @property
    def pod_path(self) -> tuple[str | int, ...] | None:
        """The way from the document to the pod, None if the kind holds none."""
        group = str(self.held.get("apiVersion", "")).rpartition("/")[0]
        inner = PODS.get((group, self.kind))
        return None if inner is None else (*self.path, *inner)

    def pod(self) -> Mapping[str, Any] | Outcome:
        """The pod or pod template, or why there is none."""
        if self.pod_path is None:
            return left(Reason.UNSUPPORTED_KIND, f"{self.kind} is no kind that a sidecar goes into")
        here: Any = self.held
        for word in self.pod_path[len(self.path) :]:
            here = here.get(word) if isinstance(here, Mapping) else None
        if isinstance(here, Mapping):
            return here
        return left(Reason.MALFORMED, f"it has no {'.'.join(map(str, self.pod_path[len(self.path) :]))}")

    def annotations(self) -> Mapping[str, Any]:
        """The annotations of the object itself."""
        metadata = self.held.get("metadata")
        found = metadata.get("annotations") if isinstance(metadata, Mapping) else None
        return found if isinstance(found, Mapping) else {}


def workloads(document: object, path: tuple[str | int, ...] = ()) -> Iterator[Workload]:
    """Every object in a document, those in Lists one by one. Raises ValueError for what is no object."""
    if not isinstance(document, Mapping):
        raise ValueError("is not a Kubernetes object (a mapping with apiVersion and kind)")
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            yield from workloads(item, (*path, "items", index))
    else:
        yield Workload(path, document)


def _text(held: Mapping[str, Any], name: str) -> str:
    metadata = held.get("metadata")
    found = metadata.get(name) if isinstance(metadata, Mapping) else None
    return found if isinstance(found, str) else ""
