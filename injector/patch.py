"""Injection and its undoing, as pure functions: a pod (or pod template) and settings in, a JSON Patch and a report out.

`injection` adds an init container, the sidecar, a volume and annotations, has `tcpSocket` probes ask the sidecar
(`injector.probes`), and touches nothing else. `removal` finds what was added by its name and takes it out; what
injection had to create for it (`metadata/annotations`, say) is noted in an annotation, so that it goes too.

Patches are RFC 6902, and every index in them means the same before the patch and at its turn: probes come before all
else, what is added to a list comes first or last ("-"), what is removed goes from the last to the first. So a patch
can also be laid over the text of a manifest. Must not know where pods come from or who applies the patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from injector.annotations import AnnotationsError, is_wanted, settings_of, unknown
from injector.containers import init_container, run_volume, sidecar
from injector.pointer import pointer
from injector.probes import Probe, record, redirected, restoring, rewriting
from injector.report import Operation, Outcome, Reason, Report, left
from injector.settings import CREATED, INIT, INJECTED, PORTS, PROBES, SIDECAR, VOLUME, Settings

TERMINATION_S: Final = 30  # what Kubernetes gives a pod that names no period
MARGIN_S: Final = 5  # the sidecar ends this much before the kubelet kills it
LISTS: Final = ("containers", "initContainers", "volumes")
OWN_NAMES: Final = (SIDECAR, INIT, VOLUME)
MIRROR: Final = "kubernetes.io/config.mirror"  # from the kubelet: changing this pod would change nothing that runs

Pod = Mapping[str, Any]


def injection(pod: Pod, settings: Settings, namespace: Mapping[str, Any], *, by_default: bool) -> Outcome:
    """What to change so that `pod` has a sidecar.

    `pod` is a Pod or a pod template as plain data, `namespace` its namespace's annotations. `by_default` says what to
    do when neither asks for a sidecar nor refuses one.
    """
    if problems := tuple(_malformed(pod)):
        return left(Reason.MALFORMED, *problems)
    annotations = _annotations(pod)
    warnings = tuple(unknown(annotations))
    if _has_own(pod):
        return left(Reason.ALREADY_INJECTED, "it has a sidecar already", warnings=warnings)
    try:
        wanted, whose = is_wanted(namespace, annotations, by_default)
        chosen = settings_of(settings, namespace, annotations) if wanted else settings
    except AnnotationsError as error:
        return left(Reason.WRONG_ANNOTATION, *error.errors, warnings=warnings)
    if not wanted:
        reason = Reason.DISABLED if whose else Reason.NOT_ENABLED
        said = f"the {whose} says meshctl.io/inject: disabled" if whose else "neither pod nor namespace asks for it"
        return left(reason, said, warnings=warnings)
    for reason, detail in _obstacles(pod):
        return left(reason, detail, warnings=warnings)
    grace_s = _grace_s(pod["spec"], chosen)
    if grace_s < chosen.shutdown_grace_s != settings.shutdown_grace_s:
        warnings += (
            f"terminationGracePeriodSeconds leaves {grace_s} s for calls to finish, not {chosen.shutdown_grace_s} s",
        )
    if chosen.discovery == "direct" and pod["spec"].get("automountServiceAccountToken") is False:
        warnings += (
            "discovery is direct, but the pod has no token for the API server: automountServiceAccountToken is false",
        )
    return Outcome(Report(warnings=warnings), tuple(_additions(pod, chosen, grace_s)))


def removal(pod: Pod) -> Outcome:
    """What to change so that `pod` is as it was before its injection."""
    if problems := tuple(_malformed(pod)):
        return left(Reason.MALFORMED, *problems)
    if not _has_own(pod):
        return left(Reason.NOT_INJECTED, "it has no sidecar")
    created = str(_annotations(pod).get(CREATED, "")).split()
    return Outcome(Report(), tuple(_removals(pod, created)))


def rebased(patch: Sequence[Operation], path: Sequence[str | int]) -> tuple[Operation, ...]:
    """The same patch for the object that holds the pod at `path`."""
    return tuple({**operation, "path": pointer(*path) + operation["path"]} for operation in patch)


def _malformed(pod: Pod) -> Iterator[str]:
    metadata, spec = pod.get("metadata"), pod.get("spec")
    if metadata is not None and not isinstance(metadata, Mapping):
        yield "metadata is not a mapping"
    elif not isinstance((metadata or {}).get("annotations") or {}, Mapping):
        yield "metadata.annotations is not a mapping"
    if not isinstance(spec, Mapping):
        yield "spec is not a mapping"
        return
    if not spec.get("containers"):
        yield "spec.containers is empty"
    for name in LISTS:
        held = spec.get(name) or []
        if not isinstance(held, Sequence) or not all(isinstance(each, Mapping) for each in held):
            yield f"spec.{name} is not a list of mappings"


def _annotations(pod: Pod) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (pod.get("metadata") or {}).get("annotations") or {}
    return found


def _has_own(pod: Pod) -> bool:
    names = [each.get("name") for held in LISTS for each in pod["spec"].get(held) or ()]
    return INJECTED in _annotations(pod) or any(name in OWN_NAMES for name in names)


def _obstacles(pod: Pod) -> Iterator[tuple[Reason, str]]:
    spec = pod["spec"]
    if MIRROR in _annotations(pod):
        yield Reason.STATIC_POD, "it shows a static pod, which a kubelet runs from a file"
    if spec.get("hostNetwork"):
        yield Reason.HOST_NETWORK, "it uses the node's network (hostNetwork), whose traffic must stay as it is"
    if _part(spec, "os").get("name") == "windows":
        yield Reason.WINDOWS, "it runs on Windows"
    for container in (*spec["containers"], *_restarting(spec)):
        user = _part(container, "securityContext").get("runAsUser", _part(spec, "securityContext").get("runAsUser"))
        if user == PORTS.proxy_uid:
            yield Reason.UID_CLASH, f"container {_name(container)} runs as the proxy's user, {user}: it would bypass it"
        ports = container.get("ports")
        for port in ports if isinstance(ports, Sequence) else ():
            number = port.get("containerPort") if isinstance(port, Mapping) else None
            if number in (PORTS.inbound_port, PORTS.outbound_port, PORTS.admin_port):
                yield Reason.PORT_CLASH, f"container {_name(container)} uses port {number}, which is the proxy's"


def _restarting(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Init containers that go on running. The others may run as the proxy's user, to reach the network before it."""
    return (each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = of.get(name)
    return part if isinstance(part, Mapping) else {}


def _name(container: Mapping[str, Any]) -> str:
    return str(container.get("name", "without a name"))[:63]


def _grace_s(spec: Mapping[str, Any], settings: Settings) -> int:
    period_s = spec.get("terminationGracePeriodSeconds")
    period_s = period_s if isinstance(period_s, int) else TERMINATION_S
    return max(0, min(settings.shutdown_grace_s, period_s - min(MARGIN_S, period_s // 2)))


def _additions(pod: Pod, settings: Settings, grace_s: int) -> Iterator[Operation]:
    spec = pod["spec"]
    probes = redirected(spec, settings)
    shared = _shared(spec)
    proxy, init = sidecar(settings, grace_s, {probe.port for probe in probes}, shared), init_container(settings, shared)
    yield from rewriting(probes)
    if settings.native_sidecar:
        # In front: the pod's own init containers find the network, through the proxy.
        yield from _added(spec, "initContainers", [init, proxy])
    else:
        # Behind, as until the proxy runs redirected connections are refused.
        yield from _added(spec, "initContainers", [init], last=True)
        yield from _added(spec, "containers", [proxy])
    yield from _added(spec, "volumes", [run_volume()])
    yield from _marks(pod, settings, probes)


def _shared(spec: Mapping[str, Any]) -> set[str]:
    """The resources that the pod has as a whole: containers that ask for more than these make a pod invalid."""
    whole = _part(spec, "resources")
    return {str(name) for part in ("requests", "limits") for name in _part(whole, part)}


def _added(spec: Mapping[str, Any], name: str, items: list[Any], *, last: bool = False) -> Iterator[Operation]:
    if not spec.get(name):
        yield _add(("spec", name), items)
    elif last:
        yield from (_add(("spec", name, "-"), item) for item in items)
    else:
        yield from (_add(("spec", name, 0), item) for item in reversed(items))


def _marks(pod: Pod, settings: Settings, probes: Sequence[Probe]) -> Iterator[Operation]:
    metadata, spec = pod.get("metadata"), pod["spec"]
    absent = {
        "metadata": metadata is None,
        "metadata/annotations": (metadata or {}).get("annotations") is None,
        "spec/initContainers": spec.get("initContainers") is None,
        "spec/volumes": spec.get("volumes") is None,
    }
    marks = {INJECTED: "native" if settings.native_sidecar else "container"}
    if created := " ".join(path for path, is_absent in absent.items() if is_absent):
        marks[CREATED] = created
    if probes:
        marks[PROBES] = record(probes)
    if metadata is None:
        yield _add(("metadata",), {"annotations": marks})
    elif not metadata.get("annotations"):
        yield _add(("metadata", "annotations"), marks)
    else:
        yield from (_add(("metadata", "annotations", name), mark) for name, mark in marks.items())


def _removals(pod: Pod, created: Sequence[str]) -> Iterator[Operation]:
    annotations = _annotations(pod)
    yield from restoring(pod["spec"], annotations.get(PROBES))
    for name in LISTS:
        held = pod["spec"].get(name) or []
        own = [index for index, each in enumerate(held) if each.get("name") in OWN_NAMES]
        yield from _taken(("spec", name), own, len(held), created, empty=[])
    marks = [name for name in (CREATED, INJECTED, PROBES) if name in annotations]
    whole = "metadata" in created and len(pod["metadata"]) == 1 and len(marks) == len(annotations)
    if whole:
        yield {"op": "remove", "path": "/metadata"}
    else:
        yield from _taken(("metadata", "annotations"), marks, len(annotations), created, empty={})


def _taken(
    path: tuple[str, str], own: Sequence[str | int], held: int, created: Sequence[str], *, empty: Any
) -> Iterator[Operation]:
    """Removes `own` of the `held` members at `path`; with the last of them what was created for them."""
    if own and len(own) == held:
        if "/".join(path) in created:
            yield {"op": "remove", "path": pointer(*path)}
        else:
            yield {"op": "replace", "path": pointer(*path), "value": empty}
        return
    yield from ({"op": "remove", "path": pointer(*path, name)} for name in reversed(own))


def _add(path: Sequence[str | int], value: Any) -> Operation:
    return {"op": "add", "path": pointer(*path), "value": value}
