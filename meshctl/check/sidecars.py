"""Checks of sidecars: whether they are ready, get the connections, and hear from the controller. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from injector.settings import INIT, SIDECAR
from meshctl.check.facts import CONTROLLER, Facts, Key, Sidecar, key_of, part
from meshctl.check.finding import Check, Note, Problem, Unread, known
from meshctl.check.podstate import ended_how, statuses, troubles
from meshctl.check.selection import owner, restart, with_sidecar

UNUSUAL_RESTARTS: Final = 3


def _ready(facts: Facts) -> Iterator[Problem | Note]:
    pods = with_sidecar(facts)
    yield Note(f"{len(pods)} pod{'' if len(pods) == 1 else 's'}")
    for pod in pods:
        found = list(troubles(pod, lambda name: name == SIDECAR))
        yield from found
        restarts = sum(
            each.get("restartCount") or 0 for each in statuses(pod) if each.get("name") == SIDECAR and not found
        )
        if restarts >= UNUSUAL_RESTARTS:
            namespace, name = key_of(pod)
            last = next(each for each in statuses(pod) if each.get("name") == SIDECAR)
            yield Problem(
                f"the sidecar of pod {namespace}/{name} was started again {restarts} times"
                f"{_last(part(last, 'lastState', 'terminated'))}",
                f"kubectl logs -n {namespace} {name} -c {SIDECAR} --previous",
                warning=True,
            )


def _last(terminated: Any) -> str:
    return f"; it ended last{ended_how(terminated)}" if terminated else ""


def _redirected(facts: Facts) -> Iterator[Problem]:
    asked: Mapping[Key, Sidecar | Unread] = facts.sidecars if not isinstance(facts.sidecars, Unread) else {}
    for pod in with_sidecar(facts):
        namespace, name = key_of(pod)
        status = next((each for each in statuses(pod) if each.get("name") == INIT), None)
        ended = part(status, "state", "terminated") or part(status, "lastState", "terminated")
        logs = f"kubectl logs -n {namespace} {name} -c {INIT}"
        has_init = any(each.get("name") == INIT for each in part(pod, "spec").get("initContainers") or ())
        if not has_init:
            yield Problem(
                f"pod {namespace}/{name} has a sidecar and no {INIT}: nothing leads its connections to it",
                restart(namespace, owner(pod)),
            )
        elif ended and ended.get("exitCode"):
            yield Problem(
                f"{INIT} of pod {namespace}/{name} could not set the rules{ended_how(ended)}",
                f"{logs}; the node needs iptables (nft or legacy), and the pod NET_ADMIN and NET_RAW for it",
            )
        sidecar = asked.get((namespace, name))
        if isinstance(sidecar, Sidecar) and (missing := {"inbound", "outbound"} - sidecar.intercepts):
            yield Problem(
                f"the sidecar of pod {namespace}/{name} takes no {' and no '.join(sorted(missing))} connections: its "
                "configuration has no such listener",
                "have it use the image's own configuration, /etc/meshctl/sidecar.yaml, or add listeners with "
                "`intercept` (docs/configuration.md)",
            )


def _connected(facts: Facts) -> Iterator[Problem | Note]:
    asked = known(facts.sidecars)
    said = [each for each in asked.values() if isinstance(each, Sidecar) and each.connected is not None]
    left_out = f", {facts.not_asked} not asked" if facts.not_asked else ""
    yield Note(f"{sum(1 for each in said if each.connected)} of {len(said)}{left_out}")
    for (namespace, name), each in asked.items():
        if isinstance(each, Unread):
            yield Problem(
                f"the sidecar of pod {namespace}/{name} does not answer on its admin port: {each.why}",
                f"kubectl logs -n {namespace} {name} -c {SIDECAR}",
                warning=True,
            )
        elif each.connected is False:
            yield Problem(
                f"the sidecar of pod {namespace}/{name} has no connection to the controller: its endpoints stay as "
                "they were",
                f"see that pods of namespace {namespace} reach port 8086 of service {facts.namespace}/{CONTROLLER} "
                f"(NetworkPolicies); kubectl logs -n {namespace} {name} -c {SIDECAR}",
            )


SIDECARS: Final = (
    Check("sidecars-ready", "sidecars are ready", _ready, ("api-reachable",)),
    Check("sidecars-redirected", "connections are led to the sidecars", _redirected, ("api-reachable",)),
    Check("sidecars-connected", "sidecars are connected to the controller", _connected, ("api-reachable",)),
)
