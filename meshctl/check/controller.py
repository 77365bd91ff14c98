"""Checks of the controller: its namespace, its pods, what it may do, its Service, its Lease, its version. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from meshctl.check.facts import CONTROLLER, Facts, counted, metadata, name_of, part
from meshctl.check.finding import Check, Note, NotMeantError, Problem, Unread, known
from meshctl.check.permissions import listed
from meshctl.check.podstate import troubles

LEASE_LATE_S: Final = 60.0
NAMESPACE: Final = "meshctl"  # unless another one is named


def again(facts: Facts) -> str:
    """The hint that puts back whatever is missing, which is all of it where there is no controller."""
    if facts.installed_in is None or facts.deployment is None:
        return _install(facts)
    return f"put it back: `meshctl upgrade{_where(facts)} | kubectl apply -f -`"


def _install(facts: Facts) -> str:
    return f"install it: `meshctl install{_where(facts)} | kubectl apply -f -`"


def _where(facts: Facts) -> str:
    return f" --namespace {facts.namespace}" if facts.namespace != NAMESPACE else ""


def _namespace(facts: Facts) -> Iterator[Problem]:
    found = known(facts.installed_in)
    if found is None:
        yield Problem(
            f"there is no namespace {facts.namespace}",
            f"{_install(facts)}; if it is installed in another namespace, name that with --namespace",
        )
    elif metadata(found).get("deletionTimestamp"):
        yield Problem(f"namespace {facts.namespace} is being deleted", "wait until it is gone, then install again")


def _deployment(facts: Facts) -> Iterator[Problem]:
    if known(facts.deployment) is None:
        yield Problem(
            f"there is no deployment {CONTROLLER} in namespace {facts.namespace}",
            _install(facts),
        )


def _ready(facts: Facts) -> Iterator[Problem | Note]:
    deployment = known(facts.deployment)
    wanted = part(deployment, "spec").get("replicas", 1)
    status = part(deployment, "status")
    ready = status.get("readyReplicas") or 0
    if not wanted:
        yield Problem(
            f"deployment {CONTROLLER} is scaled to 0: pods are not injected, and sidecars learn of no change",
            f"kubectl scale -n {facts.namespace} deployment/{CONTROLLER} --replicas=1",
        )
        return
    yield Note(f"{ready} of {wanted}")
    if ready >= wanted:
        return
    found = [*_cannot_create(status), *_pod_troubles(facts)]
    yield from found or (
        Problem(
            f"{ready} of {wanted} pods of deployment {CONTROLLER} are ready",
            f"kubectl describe -n {facts.namespace} deployment/{CONTROLLER}",
        ),
    )


def _cannot_create(status: Any) -> Iterator[Problem]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            yield Problem(
                f"the controller's pods cannot be created: {condition.get('message')}",
                "mend what the message names: a quota, a policy of the namespace, or a missing ServiceAccount",
            )


def _pod_troubles(facts: Facts) -> Iterator[Problem]:
    for pod in known(facts.controller_pods):
        if not metadata(pod).get("deletionTimestamp"):
            yield from troubles(pod)


def _service_account(facts: Facts) -> Iterator[Problem]:
    if known(facts.service_account) is None:
        yield Problem(f"there is no service account {CONTROLLER} in namespace {facts.namespace}", again(facts))


def _permissions(facts: Facts) -> Iterator[Problem]:
    denied = listed(known(facts.controller_may_not))
    if not denied:
        return
    missing = [] if isinstance(facts.roles, Unread) else [name for name, item in facts.roles.items() if item is None]
    why = f"; missing: {counted(missing)}" if missing else ""
    yield Problem(f"the controller may not {denied}{why}", again(facts))


def _service(facts: Facts) -> Iterator[Problem | Note]:
    service = known(facts.service)
    if service is None:
        yield Problem(f"there is no service {CONTROLLER} in namespace {facts.namespace}", again(facts))
        return
    ready = [
        endpoint
        for each in known(facts.slices)
        for endpoint in each.get("endpoints") or ()
        if part(endpoint, "conditions").get("ready") is not False
    ]
    yield Note(f"{len(ready)} ready")
    if ready:
        return
    selector = part(service, "spec", "selector")
    pods = known(facts.controller_pods)
    if pods and not any(selector.items() <= part(pod, "metadata", "labels").items() for pod in pods):
        yield Problem(f"the selector of service {CONTROLLER} ({_labels(selector)}) finds no pod", again(facts))
    else:
        yield Problem(
            f"service {CONTROLLER} has no ready endpoints: webhook calls and sidecars find no controller",
            "make the controller's pods ready (see controller-ready)",
        )


def _labels(selector: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in selector.items()) or "none"


def _configured(facts: Facts) -> Iterator[Problem]:
    if known(facts.settings) is None:
        yield Problem(f"there is no ConfigMap {CONTROLLER} in namespace {facts.namespace}", again(facts))
        return
    if facts.config is None and not facts.config_errors:
        yield Problem(f"ConfigMap {CONTROLLER} has no controller.yaml", again(facts))
    for error in facts.config_errors:
        yield Problem(
            f"controller.yaml in ConfigMap {CONTROLLER} is wrong: {error}",
            f"mend it (docs/controller.md): kubectl edit -n {facts.namespace} configmap {CONTROLLER}",
        )


def _lease(facts: Facts) -> Iterator[Problem | Note]:
    if not facts.makes_certificates:
        raise NotMeantError("there are no certificates to be made, for which one would lead")
    spec = part(known(facts.lease), "spec")
    holder = str(spec.get("holderIdentity") or "")
    logs = f"kubectl logs -n {facts.namespace} deployment/{CONTROLLER}"
    if not holder:
        yield Problem("no controller pod leads: certificates are neither made nor renewed", logs)
        return
    yield Note(holder)
    pods = {name_of(pod) for pod in known(facts.controller_pods)}
    late_s = facts.now_s - seconds(str(spec.get("renewTime") or ""))
    patience_s = max(LEASE_LATE_S, 2.0 * (spec.get("leaseDurationSeconds") or 0))
    if not any(holder == name or holder.startswith(f"{name}_") for name in pods):
        yield Problem(
            f"the lease {CONTROLLER} is held by {holder}, a pod that is gone",
            f"a live pod takes it over when it has run out; if that lasts: kubectl delete -n {facts.namespace} "
            f"lease {CONTROLLER}",
            warning=late_s < patience_s,
        )
    elif late_s > patience_s:
        yield Problem(f"the lease {CONTROLLER} was not renewed for {late_s:.0f} s by {holder}, which leads", logs)


def _version(facts: Facts) -> Iterator[Problem | Note]:
    versions = known(facts.controller_versions)
    said = {name: version for name, version in versions.items() if isinstance(version, str)}
    for name, version in versions.items():
        if isinstance(version, Unread):
            yield Problem(
                f"controller pod {name} does not tell its version: {version.why}",
                f"kubectl logs -n {facts.namespace} {name}",
            )
    yield Note(", ".join(sorted(set(said.values()))) or "unknown")
    for version in sorted(set(said.values()) - {facts.cli_version}):
        yield Problem(
            f"the controller is {version}, and this command is {facts.cli_version}",
            f"upgrade the older one: `pip install meshctl-proxy=={version}`, or {again(facts).partition(': ')[2]}",
            warning=True,
        )


def seconds(time: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 if it is none."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


CONTROLLER_CHECKS: Final = (
    Check("namespace-exists", "the namespace exists", _namespace, ("api-reachable",)),
    Check("controller-exists", "the controller's deployment exists", _deployment, ("namespace-exists",)),
    Check("controller-ready", "the controller's pods are ready", _ready, ("controller-exists",)),
    Check("controller-account", "the controller's service account exists", _service_account, ("namespace-exists",)),
    Check("controller-permissions", "the controller may do what it has to", _permissions, ("controller-account",)),
    Check("controller-settings", "the controller's settings are there", _configured, ("namespace-exists",)),
    Check("controller-service", "the controller's service has ready endpoints", _service, ("controller-exists",)),
    Check("controller-leader", "one of the controller's pods leads", _lease, ("controller-exists",)),
    Check("controller-version", "the controller is of this version", _version, ("controller-ready",)),
)
