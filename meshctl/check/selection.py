"""Which pods and namespaces are meant, and what a pod is made by. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from injector.annotations import AnnotationsError, is_wanted
from injector.settings import INJECT, SIDECAR
from meshctl.check.facts import OUTSIDE, Facts, Json, annotations_of, metadata, name_of, part
from meshctl.check.finding import known


def injected(pod: Json) -> bool:
    """Whether the pod has a sidecar."""
    spec = part(pod, "spec")
    return any(
        each.get("name") == SIDECAR for kind in ("initContainers", "containers") for each in spec.get(kind) or ()
    )


def watched(facts: Facts, namespace: Json) -> bool:
    """Whether the webhook is asked about pods of this namespace at all."""
    name, only = name_of(namespace), facts.only
    opted_out = part(namespace, "metadata", "labels").get(INJECT) == "disabled"
    return name not in (facts.namespace, *OUTSIDE) and not opted_out and (not only or name in only)


def enabled(facts: Facts, namespace: Json) -> bool:
    """Whether pods of this namespace are to have a sidecar unless they say otherwise."""
    try:
        return watched(facts, namespace) and is_wanted(annotations_of(namespace), {}, facts.by_default)[0]
    except AnnotationsError:
        return False


def running(facts: Facts) -> Iterator[Json]:
    """Pods that have not ended and are not about to."""
    for pod in known(facts.pods):
        ended = part(pod, "status").get("phase") in ("Succeeded", "Failed")
        if not ended and not metadata(pod).get("deletionTimestamp"):
            yield pod


def with_sidecar(facts: Facts) -> list[Json]:
    """Running pods that have one."""
    return [pod for pod in running(facts) if injected(pod)]


def owner(pod: Json) -> str:
    """What a pod is made by, as kubectl writes it: "deployment/web", empty for a pod of its own."""
    owners = metadata(pod).get("ownerReferences") or ()
    made_by = next((each for each in owners if each.get("controller")), None)
    if made_by is None:
        return ""
    kind, name = str(made_by.get("kind")), str(made_by.get("name"))
    made_from = part(pod, "metadata", "labels").get("pod-template-hash")
    if kind == "ReplicaSet" and made_from and name.endswith(f"-{made_from}"):
        return f"deployment/{name.removesuffix(f'-{made_from}')}"
    return f"{kind.lower()}/{name}"


def restart(namespace: str, whose: str) -> str:
    """The hint that has pods made anew."""
    kind = whose.partition("/")[0]
    if kind in ("deployment", "statefulset", "daemonset"):
        return f"kubectl rollout restart -n {namespace} {whose}"
    return f"delete {f'the pods of {whose}' if whose else 'the pod'} in namespace {namespace} and have it made anew"
