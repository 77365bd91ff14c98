"""Any pod through the webhook, over TLS: its patch applies, the result is valid, and a second pass changes nothing.

How many: MESHCTL_ADMISSION_PODS (`make soak`: 2,000). Prints how long the webhook took.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.kubernetes_server import KubernetesServer
from tests.support.pods import pods
from tests.unit.controller.stage import Caller, calling, metric, patch_of, patched, review, running

PODS = int(os.environ.get("MESHCTL_ADMISSION_PODS", "150"))
VERSIONS = ("1.29.0", "1.34.0")
AT_ONCE = 4
HIGHEST_P99_S = 0.05 if PODS >= 1000 else 15  # a few are no sample, and may run beside other tests

Object = dict[str, Any]


def generated(count: int) -> list[Object]:
    """The same for each run."""
    found: list[Object] = []

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(pods)
    def collect(pod: Object) -> None:
        found.append(pod)

    collect()
    while len(found) < count:  # when hypothesis thinks that it has seen all
        found += found[: count - len(found)]
    return found[:count]


def is_valid(pod: Object) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)


async def asked(caller: Caller, everything: list[Object], times_s: list[float]) -> list[Object]:
    """The responses, in order; a few requests at a time, as API servers have them."""
    responses: list[Object] = [{}] * len(everything)
    waiting = iter(enumerate(everything))

    async def work() -> None:
        for index, pod in waiting:
            began_s = time.perf_counter()
            responses[index] = await caller.ask(review(pod), ssl=trusted)
            times_s.append(time.perf_counter() - began_s)

    trusted = caller.trusting()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return responses


@pytest.mark.asyncio
@pytest.mark.timeout(900)
async def test_any_pod_is_injected_validly_and_once(server: KubernetesServer, tmp_path: Path) -> None:
    everything, times_s = generated(PODS), list[float]()
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        first = await asked(caller, everything, times_s)
        results = [patched(pod, response) for pod, response in zip(everything, first, strict=True)]
        second = await asked(caller, results, times_s)
        assert await metric(controller, "meshctl_admission_faults_total") == 0
    injected = [result for result, response in zip(results, first, strict=True) if patch_of(response)]
    assert len(injected) > PODS * 0.4, "most of the generated pods are ordinary ones"
    assert not [response for response in second if patch_of(response)]
    for result in injected:
        is_valid(result)
    p99_s = statistics.quantiles(times_s, n=100)[98]
    print(
        f"{len(everything)} pods, {len(injected)} injected: p50 {statistics.median(times_s) * 1000:.2f} ms,"
        f" p99 {p99_s * 1000:.2f} ms, worst {max(times_s) * 1000:.1f} ms"
    )
    assert p99_s < HIGHEST_P99_S


def test_the_generated_pods_are_valid_before() -> None:
    for pod in generated(50):
        is_valid(pod)
