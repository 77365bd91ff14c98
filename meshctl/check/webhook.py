"""Checks of the webhook: its configuration, its certificate, and whether the API server really calls it. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from meshctl.check import tls
from meshctl.check.controller import again
from meshctl.check.facts import (
    CERTIFICATE_SECRET,
    CONTROLLER,
    INJECTOR,
    OUTSIDE,
    WEBHOOK,
    WEBHOOK_PATH,
    Facts,
    Json,
    counted,
    part,
)
from meshctl.check.finding import Check, Note, NotMeantError, Problem, Unread, known

DAY_S: Final = 86_400.0
SOON_S: Final = 14 * DAY_S
SOON_SHARE: Final = 0.2  # of a lifetime; what is left of a short one
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def _configuration(facts: Facts) -> Iterator[Problem]:
    if not facts.has_webhook:
        raise NotMeantError("by the controller's settings pods are injected with `meshctl inject` alone")
    found = known(facts.webhook)
    if found is None:
        yield Problem(
            f"there is no MutatingWebhookConfiguration {INJECTOR}: pods are not injected when they are created",
            again(facts),
        )
    elif not _webhook(facts):
        yield Problem(f"MutatingWebhookConfiguration {INJECTOR} has no webhook {WEBHOOK}", again(facts))


def _webhook(facts: Facts) -> Json:
    hooks = part(known(facts.webhook), "webhooks")
    return next((each for each in hooks or () if each.get("name") == WEBHOOK), {})


def _target(facts: Facts) -> Iterator[Problem]:
    client = part(_webhook(facts), "clientConfig")
    if url := client.get("url"):
        yield Problem(f"the webhook calls {url}, and not the service {CONTROLLER}", again(facts))
        return
    service = client.get("service") or {}
    for key, wanted, default in (
        ("namespace", facts.namespace, None),
        ("name", CONTROLLER, None),
        ("path", WEBHOOK_PATH, "/"),
        ("port", 443, 443),
    ):
        if (said := service.get(key, default)) != wanted:
            yield Problem(f"the webhook calls service {key} {said}, and not {wanted}", again(facts))


def _rules(facts: Facts) -> Iterator[Problem]:
    webhook = _webhook(facts)
    if not any(_is_for_new_pods(rule) for rule in webhook.get("rules") or ()):
        yield Problem("the webhook is not called when pods are created: its rules do not say so", again(facts))
    if webhook.get("failurePolicy") != "Ignore":
        yield Problem(
            f"its failurePolicy is {webhook.get('failurePolicy')}: while the controller is down no pod can be created",
            "set it to Ignore unless a pod without a sidecar is worse than none",
            warning=True,
        )
    if open_to := [name for name in (facts.namespace, *OUTSIDE) if not _excludes(webhook, name)]:
        yield Problem(
            f"its namespaceSelector does not leave out {counted(open_to)}: the cluster's own pods, or the "
            "controller's, would wait for the controller",
            again(facts),
            warning=webhook.get("failurePolicy") == "Ignore",
        )


def _is_for_new_pods(rule: Json) -> bool:
    return all(
        not {wanted, "*"}.isdisjoint(rule.get(key) or ())
        for key, wanted in (("operations", "CREATE"), ("resources", "pods"), ("apiGroups", ""), ("apiVersions", "v1"))
    )


def _excludes(webhook: Json, namespace: str) -> bool:
    for each in part(webhook, "namespaceSelector", "matchExpressions") or ():
        if each.get("key") == NAMESPACE_NAME:
            listed = namespace in (each.get("values") or ())
            if each.get("operator") == ("NotIn" if listed else "In"):
                return True
    return False


def _trusted(facts: Facts) -> Iterator[Problem | Note]:
    bundle = part(_webhook(facts), "clientConfig").get("caBundle")
    secret = known(facts.certificates)
    mend = _renew(facts)
    if secret is None:
        yield Problem(f"there is no secret {CERTIFICATE_SECRET} in namespace {facts.namespace}", mend)
        return
    if not bundle:
        yield Problem("the webhook has no caBundle: the API server does not trust the controller", mend)
        return
    name = f"{CONTROLLER}.{facts.namespace}.svc"
    held = {key: _decoded(part(secret, "data").get(key)) for key in ("tls.crt", "tls.key")}
    if empty := [key for key, value in held.items() if not value]:
        yield Problem(f"secret {CERTIFICATE_SECRET} has no {' and no '.join(empty)}", mend)
        return
    found = tls.accepted(_decoded(bundle), held["tls.crt"], held["tls.key"], name)
    if isinstance(found, tls.Refused):
        yield Problem(f"{_FAULTS[found.fault].format(name=name)} ({found.detail})", mend)
    else:
        yield Note(f"until {datetime.fromtimestamp(found.ends_s, UTC):%Y-%m-%d}")


_FAULTS: Final = {
    tls.Fault.UNREADABLE: "the webhook's certificate or key cannot be read",
    tls.Fault.KEY: "the webhook's key is not that of its certificate",
    tls.Fault.EXPIRED: "the webhook's certificate, or its CA's, has expired",
    tls.Fault.NOT_YET: "the webhook's certificate, or its CA's, is not valid yet: is the clock right?",
    tls.Fault.CA: "the webhook's caBundle does not vouch for the controller's certificate",
    tls.Fault.NAME: "the webhook's certificate is not for {name}",
}


def _lasts(facts: Facts) -> Iterator[Problem]:
    bundle = _decoded(part(_webhook(facts), "clientConfig").get("caBundle"))
    held = part(known(facts.certificates), "data")
    name = f"{CONTROLLER}.{facts.namespace}.svc"
    certificate = tls.accepted(bundle, _decoded(held.get("tls.crt")), _decoded(held.get("tls.key")), name)
    lifetimes: list[tuple[str, tls.Lifetime]] = []
    if isinstance(certificate, tls.Lifetime):
        lifetimes.append(("certificate", certificate))
    # While one CA follows another both are in the bundle: the one that lasts longest counts.
    lifetimes += [("CA", each) for each in sorted(tls.authorities(bundle), key=lambda each: each.ends_s)[-1:]]
    for what, lifetime in lifetimes:
        left_s = lifetime.ends_s - facts.now_s
        if left_s < min(SOON_S, SOON_SHARE * (lifetime.ends_s - lifetime.begins_s)):
            yield Problem(
                f"the webhook's {what} expires in {_days(left_s)} and should have been renewed by now", _renew(facts)
            )


def _renew(facts: Facts) -> str:
    if not facts.makes_certificates:
        return f"see what cert-manager says: kubectl describe certificate,certificaterequest -n {facts.namespace}"
    log = f"kubectl logs -n {facts.namespace} deployment/{CONTROLLER}"
    if facts.certificates is None:
        return f"the controller makes it within seconds of its start; if it does not: {log}"
    return (
        f"have it made anew: kubectl delete secret -n {facts.namespace} {CERTIFICATE_SECRET}; if it does not come "
        f"back: {log}"
    )


def _called(facts: Facts) -> Iterator[Problem | Note]:
    admissions = known(facts.admissions)
    read = {name: each for name, each in admissions.items() if not isinstance(each, Unread)}
    if not read:
        unread = next((each.why for each in admissions.values() if isinstance(each, Unread)), "")
        known(Unread(unread or "there is no namespace to try it in"))
    yield Note(f"tried in {counted(sorted(read), 3)}")
    for name, each in sorted(read.items()):
        if each.refused:
            yield Problem(
                f"a pod with a sidecar is refused in namespace {name}: {each.refused}",
                f"if Pod Security refuses it: kubectl label namespace {name} --overwrite "
                "pod-security.kubernetes.io/enforce=privileged, as meshctl-init needs NET_ADMIN and NET_RAW",
            )
        elif not each.injected:
            yield Problem(
                f"a new pod in namespace {name} gets no sidecar: the API server does not reach the controller, or does "
                "not trust it",
                f"kubectl logs -n {facts.namespace} deployment/{CONTROLLER}; nodes of the control plane have to reach "
                "port 8443 of its pods (firewalls, NetworkPolicies)",
            )


def _days(left_s: float) -> str:
    return f"{left_s / DAY_S:.0f} days" if left_s >= 2 * DAY_S else f"{left_s / 3600:.0f} hours"


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""


WEBHOOK_CHECKS: Final = (
    Check("webhook-exists", "the webhook's configuration exists", _configuration, ("api-reachable",)),
    Check("webhook-target", "the webhook leads to the controller", _target, ("webhook-exists",)),
    Check(
        "webhook-rules",
        "it is called for new pods, and not for the cluster's own",
        _rules,
        ("webhook-exists",),
    ),
    Check("webhook-certificate", "the API server trusts the webhook's certificate", _trusted, ("webhook-exists",)),
    Check("webhook-certificate-lasts", "the webhook's certificates last", _lasts, ("webhook-certificate",)),
    Check("webhook-called", "new pods get a sidecar", _called, ("webhook-exists",)),
)
