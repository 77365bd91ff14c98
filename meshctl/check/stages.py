"""All checks in their order: stages, each with a title, what it reads from the cluster, and its checks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from meshctl.check import gather
from meshctl.check.controller import CONTROLLER_CHECKS
from meshctl.check.facts import Facts
from meshctl.check.finding import Check, Result, Status, run
from meshctl.check.kubernetes import KUBERNETES, PERMISSIONS, REACHABLE
from meshctl.check.pods import PODS
from meshctl.check.services import SERVICES
from meshctl.check.sidecars import SIDECARS
from meshctl.check.webhook import WEBHOOK_CHECKS
from meshctl.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Stage:
    """Facts that are read together, and the checks that need them and those of the stages before."""

    title: str
    read: Callable[[Cluster, Facts], Awaitable[None]]
    checks: tuple[Check[Facts], ...]


_CLUSTER: Final = Stage("Kubernetes", gather.kubernetes, KUBERNETES)

BEFORE: Final = (_CLUSTER, Stage("Permissions", gather.permissions, PERMISSIONS))
"""Before installing."""

AFTER: Final = (
    _CLUSTER,
    Stage("Controller", gather.controller, CONTROLLER_CHECKS),
    Stage("Webhook", gather.webhook, WEBHOOK_CHECKS),
    Stage("Pods", gather.pods, (*PODS, *SIDECARS)),
    Stage("Services", gather.services, SERVICES),
)


async def results(cluster: Cluster, facts: Facts, stages: tuple[Stage, ...]) -> AsyncIterator[Stage | Result]:
    """Each stage as it begins, then the results of its checks. Ends early if there is no cluster to ask."""
    found: dict[str, Result] = {}
    for stage in stages:
        if found and found[REACHABLE.name].status is not Status.OK:
            return
        yield stage
        await stage.read(cluster, facts)
        facts.now_s = time.time()
        for result in run(stage.checks, facts, found):
            found[result.name] = result
            yield result
