"""Checks of pods and namespaces: who should have a sidecar and has none, or an old one, or one in its way. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from injector.annotations import AnnotationsError, is_wanted, settings_of
from injector.patch import injection
from injector.report import Reason
from injector.settings import CONFIG_PREFIX, INJECT, PORTS, SIDECAR, Settings
from meshctl.check.facts import Facts, Json, Key, annotations_of, counted, key_of, name_of, part
from meshctl.check.finding import Check, Note, NotMeantError, Problem, Unread, known
from meshctl.check.selection import injected, owner, restart, running, watched, with_sidecar

OWN_IMAGE: Final = CONFIG_PREFIX + "proxy-image"

HINTS: Final = {
    Reason.HOST_NETWORK: "take hostNetwork out of the pod, or say meshctl.io/inject: disabled on it",
    Reason.UID_CLASH: f"let its containers run as another user than {PORTS.proxy_uid}",
    Reason.PORT_CLASH: f"let it use other ports than {PORTS.outbound_port}, {PORTS.inbound_port} and "
    f"{PORTS.admin_port}, which are the proxy's",
    Reason.WINDOWS: "say meshctl.io/inject: disabled on it: there is no sidecar for Windows",
    Reason.WRONG_ANNOTATION: "mend the annotation in the pod template (docs/injection.md), and apply it again",
    Reason.MALFORMED: "mend the pod",
}
"""For pods that ask for a sidecar and cannot have one."""

_ANY: Final = Settings(image="meshctl")


def _namespaces(facts: Facts) -> Iterator[Problem]:
    for namespace in known(facts.namespaces):
        name, said = name_of(namespace), annotations_of(namespace)
        errors: list[str] = []
        try:
            is_wanted(said, {}, False)
        except AnnotationsError as error:
            errors += error.errors
        try:
            settings_of(_ANY, said, {})
        except AnnotationsError as error:
            errors += error.errors
        for error_text in errors:
            annotation = error_text.partition(":")[0]
            value = "enabled" if annotation == INJECT else "VALUE"
            yield Problem(
                f"the annotation of namespace {name} is wrong: {error_text}",
                f"kubectl annotate namespace {name} --overwrite {annotation}={value}",
            )


def _missing(facts: Facts) -> Iterator[Problem | Note]:
    if not facts.has_webhook:
        raise NotMeantError("without a webhook, only those have one that went through `meshctl inject`")
    namespaces = {name_of(each): each for each in known(facts.namespaces) if watched(facts, each)}
    late: dict[Key, list[str]] = defaultdict(list)
    for pod in running(facts):
        namespace = namespaces.get(key_of(pod)[0])
        if namespace is None or injected(pod):
            continue
        report = injection(pod, _ANY, annotations_of(namespace), by_default=facts.by_default).report
        if report.reason is None:
            late[key_of(pod)[0], owner(pod)].append(name_of(pod))
        elif report.reason in HINTS:
            yield Problem(
                f"pod {'/'.join(key_of(pod))} has no sidecar: {'; '.join(report.details)}", HINTS[report.reason]
            )
    yield Note(f"{len(with_sidecar(facts))} with one")
    for (name, whose), pods in late.items():
        yield Problem(
            f"without the sidecar they should have, in namespace {name}: pods {counted(pods, 3)}; they were created "
            "before their namespace asked for it, or while the webhook could not be called",
            restart(name, whose),
        )


def _versions(facts: Facts) -> Iterator[Problem]:
    if facts.config is None:
        known(Unread("the controller's settings are not known"))
        return
    wanted = facts.config.injection.image
    old: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for pod in with_sidecar(facts):
        if OWN_IMAGE not in annotations_of(pod) and (has := image(pod)) != wanted:
            old[key_of(pod)[0], owner(pod), has].append(name_of(pod))
    namespaces = {} if isinstance(facts.namespaces, Unread) else {name_of(each): each for each in facts.namespaces}
    for (name, whose, has), pods in old.items():
        if OWN_IMAGE in annotations_of(namespaces.get(name, {})):
            continue
        yield Problem(
            f"sidecars of {whose or 'pod'} ({counted(pods, 3)}) in namespace {name} are {has}, new ones {wanted}",
            restart(name, whose),
            warning=True,
        )


def image(pod: Json) -> str:
    """The image of the sidecar in a pod that has one."""
    spec = part(pod, "spec")
    held = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return next(str(each.get("image")) for each in held if each.get("name") == SIDECAR)


def _clashes(facts: Facts) -> Iterator[Problem]:
    own = {PORTS.inbound_port, PORTS.outbound_port, PORTS.admin_port}
    for pod in with_sidecar(facts):
        spec = part(pod, "spec")
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            ports = {port.get("containerPort") for port in container.get("ports") or ()}
            if container.get("name") != SIDECAR and (clash := ports & own):
                yield Problem(
                    f"container {container.get('name')} of pod {'/'.join(key_of(pod))} uses port "
                    f"{counted(map(str, sorted(clash)))}, which is the proxy's: one of them cannot listen",
                    HINTS[Reason.PORT_CLASH],
                )


PODS: Final = (
    Check("namespace-annotations", "the annotations of namespaces are right", _namespaces, ("api-reachable",)),
    Check("pods-injected", "pods that should have a sidecar have one", _missing, ("api-reachable",)),
    Check("sidecars-version", "sidecars are of the controller's version", _versions, ("api-reachable",)),
    Check("port-clashes", "no container uses the proxy's ports", _clashes, ("api-reachable",)),
)
