"""Why a pod is not ready, from what the API server knows of it: in words, and how to mend it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from meshctl.check.facts import Json, key_of, part
from meshctl.check.finding import Problem

_IMAGE_HINT: Final = "see that the image exists, that the nodes reach its registry, and what pull secret it needs"

_WAITING_HINTS: Final = {
    "ErrImagePull": _IMAGE_HINT,
    "ImagePullBackOff": _IMAGE_HINT,
    "ErrImageNeverPull": _IMAGE_HINT,
    "InvalidImageName": "mend the image's name",
    "CreateContainerConfigError": "a ConfigMap or Secret that it names is missing: `kubectl describe pod`",
    "CreateContainerError": "the node cannot make the container: `kubectl describe pod`",
    "RunContainerError": "the node cannot start the container: `kubectl describe pod`",
}


def troubles(pod: Json, container: Callable[[str], bool] = lambda _: True) -> Iterator[Problem]:
    """What keeps `pod` from being ready; of its containers, only those whose name `container` wants."""
    namespace, name = key_of(pod)
    where, status = f"pod {namespace}/{name}", part(pod, "status")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield Problem(
                f"{where} has no node: {condition.get('message') or condition.get('reason') or 'pending'}",
                "make room on the nodes, or mend what the pod asks for (requests, nodeSelector, tolerations)",
            )
            return
    if status.get("phase") == "Failed":
        yield Problem(
            f"{where} has failed: {status.get('message') or status.get('reason') or 'its containers ended'}",
            f"kubectl describe pod -n {namespace} {name}",
        )
        return
    found = [each for each in statuses(pod) if container(str(each.get("name")))]
    if not found and status.get("phase") == "Pending" and part(pod, "spec").get("nodeName"):
        yield Problem(
            f"{where} was not started by its node, {pod['spec']['nodeName']}",
            "see whether that node is well: `kubectl get nodes`",
        )
    for each in found:
        yield from _trouble(where, namespace, name, each)


def is_ready(pod: Json) -> bool:
    """Whether its condition says so."""
    conditions = part(pod, "status").get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def statuses(pod: Json) -> list[Json]:
    """The statuses of all containers, init containers first."""
    status = part(pod, "status")
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _trouble(where: str, namespace: str, name: str, status: Json) -> Iterator[Problem]:
    container, state = str(status.get("name")), part(status, "state")
    logs = f"kubectl logs -n {namespace} {name} -c {container}"
    if waiting := state.get("waiting"):
        reason = str(waiting.get("reason") or "waiting")
        if reason == "CrashLoopBackOff":
            ended = ended_how(part(status, "lastState", "terminated"))
            yield Problem(
                f"container {container} of {where} ends again and again{ended} (CrashLoopBackOff)", f"{logs} --previous"
            )
        elif hint := _WAITING_HINTS.get(reason):
            said = f": {waiting['message']}" if waiting.get("message") else ""
            yield Problem(f"container {container} of {where} cannot start: {reason}{said}", hint)
    elif terminated := state.get("terminated"):
        if terminated.get("exitCode"):
            yield Problem(f"container {container} of {where} has ended{ended_how(terminated)}", logs)
    elif "running" in state and status.get("ready") is False:
        yield Problem(f"container {container} of {where} runs and is not ready", logs)


def ended_how(terminated: Any) -> str:
    """ ", with exit code 137 (OOMKilled)", empty if nothing is known."""
    if not terminated:
        return ""
    reason = terminated.get("reason")
    said = f" ({reason})" if reason and reason != "Error" else ""
    message = f": {' '.join(str(terminated['message']).split())[:200]}" if terminated.get("message") else ""
    return f", with exit code {terminated.get('exitCode')}{said}{message}"
