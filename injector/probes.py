"""The application's `tcpSocket` probes: put to the sidecar while there is one, as they were when it is gone.

A connection that is redirected finds the sidecar, whether the application listens or not. So the kubelet asks the
sidecar's admin port over HTTP instead, which connects to the application (proxy/admin/probe.py). All else of a probe
stays. What it was is recorded in an annotation; that is text from whoever may write a pod, so what it says is used only
where it means the port that the sidecar is asked for. Pure, as all of injection is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from injector.pointer import pointer
from injector.report import Operation
from injector.settings import PORTS, Settings

KINDS: Final = ("startupProbe", "readinessProbe", "livenessProbe")
QUESTIONS: Final = frozenset({"exec", "grpc", "httpGet", "tcpSocket"})
MOST_PROBES: Final = 100  # of a pod; bounds the annotation
LONGEST_NAME: Final = 63  # of a container
LONGEST_CHARACTERS: Final = 32_768  # of the annotation

_PATH: Final = "/probe/tcp/"

Container = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """A `tcpSocket` probe, where it is in the pod, and the port that it connects to."""

    path: tuple[str | int, ...]
    container: str
    kind: str
    socket: Mapping[str, Any]
    port: int


def redirected(spec: Mapping[str, Any], settings: Settings) -> tuple[Probe, ...]:
    """The probes of a pod that would find the sidecar."""
    names = Counter(str(each.get("name")) for held in ("containers", "initContainers") for each in spec.get(held) or ())
    found = (
        probe
        for probe in _probes(spec, settings)
        if names[probe.container] == 1 and probe.container and len(probe.container) <= LONGEST_NAME
    )
    return tuple(islice((probe for probe in found if _is_redirected(probe.port, settings)), MOST_PROBES))


def rewriting(probes: Iterable[Probe]) -> Iterator[Operation]:
    """Has the sidecar asked instead."""
    for probe in probes:
        yield from _exchange(probe.path, "tcpSocket", "httpGet", _question(probe.port))


def record(probes: Iterable[Probe]) -> str:
    """What the probes were, by container and kind, as the annotation says it."""
    said: dict[str, dict[str, Any]] = {}
    for probe in probes:
        said.setdefault(probe.container, {})[probe.kind] = probe.socket
    return json.dumps(said, separators=(",", ":"))


def restoring(spec: Mapping[str, Any], annotation: object) -> Iterator[Operation]:
    """Makes them what they were. One that was changed since is left alone."""
    recorded = _recorded(annotation)
    for path, container, probe in _asked(spec, ("containers", "initContainers")):
        port = _port_asked_for(probe)
        if port is None:
            continue
        was = _part(_part(recorded, str(container.get("name"))), str(path[-1]))
        socket = was if _port(was, container) == port else {"port": port}
        yield from _exchange(path, "httpGet", "tcpSocket", dict(socket))


def _probes(spec: Mapping[str, Any], settings: Settings) -> Iterator[Probe]:
    # An ordinary sidecar runs only when all init containers have started: it cannot be asked about them.
    lists = ("containers", "initContainers") if settings.native_sidecar else ("containers",)
    for path, container, probe in _asked(spec, lists):
        port = _port(probe.get("tcpSocket"), container)
        if port is not None and len(QUESTIONS & probe.keys()) == 1:
            yield Probe(path, str(container.get("name") or ""), str(path[-1]), probe["tcpSocket"], port)


def _asked(
    spec: Mapping[str, Any], lists: Sequence[str]
) -> Iterator[tuple[tuple[str | int, ...], Container, Mapping[str, Any]]]:
    """Each probe of a pod: where it is, whose it is, what it says."""
    for name in lists:
        for index, container in enumerate(spec.get(name) or ()):
            for kind in KINDS:
                if probe := _part(container, kind):
                    yield ("spec", name, index, kind), container, probe


def _port(socket: object, container: Container) -> int | None:
    """The port of the pod that a `tcpSocket` means; None if it is another host's, or not clear."""
    if not isinstance(socket, Mapping) or not socket.keys() <= {"host", "port"}:
        return None
    if socket.get("host") not in (None, ""):
        return None
    port = socket.get("port")
    if isinstance(port, str):
        ports = container.get("ports")
        listed = [each for each in ports if isinstance(each, Mapping)] if isinstance(ports, Sequence) else []
        port = next((each.get("containerPort") for each in listed if each.get("name") == port), None)
    return port if type(port) is int and 1 <= port <= 65_535 else None


def _is_redirected(port: int, settings: Settings) -> bool:
    own = (PORTS.inbound_port, PORTS.outbound_port, PORTS.admin_port)
    return port not in own and not any(each.first <= port <= each.last for each in settings.skip_inbound_ports)


def _question(port: int) -> dict[str, Any]:
    return {"path": f"{_PATH}{port}", "port": PORTS.admin_port, "scheme": "HTTP"}


def _port_asked_for(probe: Mapping[str, Any]) -> int | None:
    """The port that the sidecar is asked for, None if that is not what the probe does."""
    path = str(_part(probe, "httpGet").get("path"))
    digits = path.removeprefix(_PATH)
    if not (digits.isdecimal() and digits.isascii() and len(digits) <= 5) or QUESTIONS & probe.keys() != {"httpGet"}:
        return None
    return int(digits) if probe["httpGet"] == _question(int(digits)) else None


def _exchange(path: Sequence[str | int], old: str, new: str, value: Mapping[str, Any]) -> Iterator[Operation]:
    yield {"op": "remove", "path": pointer(*path, old)}
    yield {"op": "add", "path": pointer(*path, new), "value": value}


def _recorded(annotation: object) -> Mapping[str, Any]:
    if not isinstance(annotation, str) or len(annotation) > LONGEST_CHARACTERS:
        return {}
    try:
        return _mapping(json.loads(annotation))
    except (ValueError, RecursionError):
        return {}


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(of.get(name))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
