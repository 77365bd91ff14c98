"""Checks of the cluster itself: its API server, its version, and whether we may install. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from meshctl.check.facts import CONTROLLER, INJECTOR, Facts, counted, part
from meshctl.check.finding import Check, Note, Problem, known
from meshctl.check.permissions import listed

OLDEST: Final = (1, 21)  # discovery.k8s.io/v1
NATIVE_SIDECARS: Final = (1, 29)


def _reachable(facts: Facts) -> Iterator[Note]:
    yield Note(str(known(facts.server_version).get("gitVersion") or "of an unknown version"))


def _version(facts: Facts) -> Iterator[Problem]:
    said = known(facts.server_version)
    numbers = [re.match(r"\d+", str(said.get(name) or "")) for name in ("major", "minor")]
    if not all(numbers):
        yield Problem(
            f"the API server does not say its version (major {said.get('major')!r}, minor {said.get('minor')!r})",
            f"see yourself that it is {_text(NATIVE_SIDECARS)} or later: `kubectl version`",
            warning=True,
        )
        return
    version = tuple(int(number[0]) for number in numbers if number)
    if version < OLDEST:
        yield Problem(
            f"the API server is {_text(version)}: there are no EndpointSlices in it",
            f"upgrade the cluster to {_text(NATIVE_SIDECARS)} or later",
        )
    elif version < NATIVE_SIDECARS and (facts.config is None or facts.config.injection.native_sidecar):
        yield Problem(
            f"the API server is {_text(version)}: it does not know native sidecars, which came with "
            f"{_text(NATIVE_SIDECARS)}",
            "have ordinary containers: install with --set injection.nativeSidecar=false, inject with "
            "--no-native-sidecar, or upgrade the cluster",
        )


def _may_install(facts: Facts) -> Iterator[Problem]:
    if denied := listed(known(facts.may_not)):
        yield Problem(
            f"you may not {denied}",
            "ask somebody with the role cluster-admin to install, or to give you these permissions; "
            "`meshctl install --namespace-only` needs none for the whole cluster",
        )


def _not_installed(facts: Facts) -> Iterator[Problem | Note]:
    where = part(known(facts.webhook), "webhooks")
    found = {part(each, "clientConfig", "service").get("namespace") for each in where or ()} - {None}
    if known(facts.deployment) is not None:
        yield Problem(
            f"it is installed already: deployment {facts.namespace}/{CONTROLLER}",
            "change it with `meshctl upgrade | kubectl apply -f -`, and check it without --pre",
            warning=True,
        )
    elif others := sorted(found - {facts.namespace}):
        yield Problem(
            f"it is installed already, in namespace {counted(others)}: webhook configuration {INJECTOR} is there once "
            "for the whole cluster",
            f"name that namespace, `meshctl check --namespace {others[0]}`, or uninstall it there first",
        )


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


REACHABLE: Final = Check("api-reachable", "the API server answers", _reachable)

KUBERNETES: Final = (
    REACHABLE,
    Check("api-version", "the API server is recent enough", _version, ("api-reachable",)),
)

PERMISSIONS: Final = (
    Check("may-install", "you may install everything that is needed", _may_install, ("api-reachable",)),
    Check("not-installed", "nothing of it is installed yet", _not_installed, ("api-reachable",)),
)
