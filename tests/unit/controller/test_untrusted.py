"""Who reaches the webhook need not be an API server: what such a caller cannot make of the controller's permissions."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from injector import webhook as webhook_module
from injector.namespaces import FETCHES
from injector.settings import INIT, SIDECAR
from tests.support.kubernetes_server import KubernetesServer
from tests.unit.controller.stage import EVENTS, calling, metric, patch_of, pod, review, running, stage
from tests.unit.kubernetes.stage import until

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "1-2"}


@pytest.mark.parametrize(
    "name", ["", "shop/../../../apis", "..", "shop?watch=1", "shop%2f", "Shop", "sh\udc80op", "a" * 64, "shop\n"]
)
@pytest.mark.asyncio
async def test_a_namespace_that_can_be_none_is_not_looked_up(
    server: KubernetesServer, tmp_path: Path, name: str
) -> None:
    async with stage(server, tmp_path) as caller:
        server.requests.clear()
        status, text = await caller.post(json.dumps(review(pod(), name)))
        assert (status, text.startswith(b"a pod whose namespace is")) == (400, True)
        assert not [path for _, path, _ in server.requests if "/namespaces/" in path and "leases" not in path]


@pytest.mark.asyncio
async def test_namespaces_that_do_not_exist_are_no_flood_for_the_api_server(
    server: KubernetesServer, tmp_path: Path
) -> None:
    async with stage(server, tmp_path) as caller:
        server.silent = True
        asked = [review(pod(), f"none-{number}") for number in range(FETCHES + 20)]
        answers = await asyncio.gather(*map(caller.ask, asked))
        assert all("could not be had" in answer["warnings"][0] for answer in answers)
        fetched = [path for _, path, _ in server.requests if path.startswith("/api/v1/namespaces/none-")]
        assert len(fetched) == FETCHES


@pytest.mark.parametrize(
    "part",
    [
        {"name": "../../../../api/v1/namespaces/meshctl/secrets/meshctl-webhook-tls"},
        {"name": "web?x=1"},
        {"name": "web\udc80"},
        {"name": "a" * 1000},
        {"uid": "a" * 1000},
        {"kind": "Replica/Set"},
        {"apiVersion": "apps/v1\n"},
        {"name": ["web"]},
    ],
)
@pytest.mark.asyncio
async def test_an_owner_that_can_be_none_is_not_told_of(
    server: KubernetesServer, tmp_path: Path, part: dict[str, Any]
) -> None:
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        assert names(await caller.injected(pod({**OWNER, **part}))) == [INIT, SIDECAR]
        await caller.injected(pod(OWNER))
        await until(lambda: server.all(EVENTS))
        (event,) = server.all(EVENTS)
        assert event["involvedObject"] == {**OWNER, "namespace": "shop"}
        await until(lambda: controller.registry.get_sample_value("meshctl_events_total", {"result": "sent"}) == 1)


@pytest.mark.asyncio
async def test_half_a_surrogate_pair_ends_nothing(server: KubernetesServer, tmp_path: Path) -> None:
    held = pod(OWNER)
    held["metadata"]["annotations"]["config.meshctl.io/\ud800?"] = "x"
    async with stage(server, tmp_path) as caller:
        (warning,) = (await caller.ask(review(held)))["warnings"]
        assert (
            warning
            == "meshctl: annotation config.meshctl.io/ ? is not known; did you mean config.meshctl.io/log-level?"
        )
        await until(lambda: server.all(EVENTS))
        (event,) = server.all(EVENTS)
        assert event["message"].count("annotation config.meshctl.io/?? is not known") == 1


@pytest.mark.asyncio
async def test_requests_that_together_are_too_large_are_refused_and_then_served(
    server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "BODY_S", 20.0)
    released = asyncio.Event()

    async def held_back() -> AsyncIterator[bytes]:
        yield b"{"
        await released.wait()

    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        # How long these will be is not said, so each counts as the longest there may be.
        slow = [asyncio.create_task(caller.post(held_back())) for _ in range(2)]
        status = 0
        async with asyncio.timeout(10):
            while status != 429:
                status, text = await caller.post(json.dumps(review(pod())))
        assert text == b"more than 8388608 bytes of requests at once\n"
        released.set()
        assert [status for status, _ in await asyncio.gather(*slow)] == [400, 400]
        assert patch_of(await caller.ask(review(pod())))
        assert await metric(controller, "meshctl_admission_refusals_total", code="429") >= 1


def names(held: dict[str, Any]) -> list[str]:
    return [each["name"] for each in held["spec"].get("initContainers", [])]
