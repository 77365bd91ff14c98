"""Events: who is told what, how often, and that telling holds up no admission."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from injector import events as events_module
from injector.events import AGAIN_S, WAITING, Events, subject_of
from injector.metrics import Metrics
from injector.report import Outcome, Reason, Report, left
from proxy.config import KubernetesConfig
from proxy.discovery.kubernetes.api import ApiServer
from tests.support.kubernetes_server import KubernetesServer
from tests.unit.controller.stage import EVENTS, calling, gone, pod, review, running
from tests.unit.kubernetes.stage import until

INJECTED = Outcome(Report(), ({"op": "add"},))
HOST_NETWORK = left(Reason.HOST_NETWORK, "it uses the node's network")

REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "rs-1"}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d-1"}


def owned(**owner: str) -> dict[str, Any]:
    return pod({**REPLICA_SET, **owner})


class Scene:
    """Events on a clock that stands until it is moved."""

    def __init__(self, server: KubernetesServer, directory: Path) -> None:
        self.server = server
        self.now_s = 0.0
        self.registry = CollectorRegistry()
        self.api = ApiServer(KubernetesConfig(kubeconfig=str(server.kubeconfig(directory))))
        self.events = Events(self.api, "controller-0", Metrics(self.registry), clock=lambda: self.now_s)
        self.task = asyncio.create_task(self.events.run())

    def count(self, result: str) -> float:
        return self.registry.get_sample_value("meshctl_events_total", {"result": result}) or 0

    async def sent(self, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self.server.all(EVENTS)) >= count)
        return self.server.all(EVENTS)


@pytest_asyncio.fixture
async def scene(server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(events_module, "PAUSE_S", 0.0)
    made = Scene(server, tmp_path)
    yield made
    await gone(made.task)
    await made.api.close()


def owner_of(replica_set: dict[str, str]) -> dict[str, Any]:
    """The ReplicaSet as the API server has it, made by a Deployment."""
    metadata = {
        "name": replica_set["name"],
        "namespace": "shop",
        "ownerReferences": [{**DEPLOYMENT, "controller": True}],
    }
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": {}}


@pytest.mark.asyncio
async def test_the_deployment_is_told_of_its_pods(scene: Scene) -> None:
    scene.server.put(owner_of(REPLICA_SET))
    scene.events.tell(owned(), "shop", INJECTED)
    (event,) = await scene.sent(1)
    assert event["involvedObject"] == {**DEPLOYMENT, "namespace": "shop"}
    assert (event["type"], event["reason"], event["message"]) == ("Normal", "Injected", "a sidecar was put into a pod")
    assert event["metadata"]["namespace"] == "shop"
    assert event["metadata"]["name"].startswith("web.")
    assert (event["reportingComponent"], event["reportingInstance"]) == ("meshctl-controller", "controller-0")
    assert (event["source"], event["count"]) == ({"component": "meshctl-controller", "host": "controller-0"}, 1)


@pytest.mark.asyncio
async def test_where_the_owner_cannot_be_looked_up_it_is_told_itself(scene: Scene) -> None:
    scene.events.tell(owned(), "shop", left(Reason.UID_CLASH, "container web runs as the proxy's user"))
    (event,) = await scene.sent(1)
    assert event["involvedObject"] == {**REPLICA_SET, "namespace": "shop"}
    assert (event["type"], event["reason"]) == ("Warning", "NotInjected")
    assert event["message"] == "container web runs as the proxy's user"


@pytest.mark.asyncio
async def test_the_same_is_told_once_in_ten_minutes_also_of_another_replica_set(scene: Scene) -> None:
    second = {**REPLICA_SET, "name": "web-6e", "uid": "rs-2"}
    scene.server.put(owner_of(REPLICA_SET), owner_of(second))
    for _ in range(50):
        scene.events.tell(owned(), "shop", INJECTED)
    await scene.sent(1)
    scene.events.tell(owned(name="web-6e", uid="rs-2"), "shop", INJECTED)
    await until(lambda: scene.count("repeated") == 50)
    scene.events.tell(owned(), "shop", HOST_NETWORK)
    assert [event["reason"] for event in await scene.sent(2)] == ["Injected", "NotInjected"]
    scene.now_s += AGAIN_S - 1
    scene.events.tell(owned(), "shop", INJECTED)
    scene.now_s += 2
    scene.events.tell(owned(), "shop", INJECTED)
    await scene.sent(3)
    assert (scene.count("sent"), scene.count("repeated")) == (3, 51)


@pytest.mark.parametrize("reason", [Reason.DISABLED, Reason.NOT_ENABLED, Reason.ALREADY_INJECTED])
@pytest.mark.asyncio
async def test_what_nobody_is_surprised_by_is_not_told(scene: Scene, reason: Reason) -> None:
    scene.events.tell(owned(), "shop", left(reason, "so it is"))
    scene.events.tell(owned(), "shop", INJECTED)
    assert [event["reason"] for event in await scene.sent(1)] == ["Injected"]


@pytest.mark.asyncio
async def test_what_fails_may_be_told_again(scene: Scene) -> None:
    scene.server.refuse_writes = 403
    scene.events.tell(owned(), "shop", INJECTED)
    await until(lambda: scene.count("failed") == 1)
    scene.server.refuse_writes = None
    scene.events.tell(owned(), "shop", INJECTED)
    await scene.sent(1)


@pytest.mark.asyncio
async def test_a_flood_is_bounded_and_costs_the_webhook_no_time(scene: Scene) -> None:
    scene.server.silent = True
    began_s = time.process_time()
    for number in range(3 * WAITING):
        scene.events.tell(owned(uid=f"uid-{number}"), "shop", INJECTED)
    assert time.process_time() - began_s < 5
    assert scene.count("dropped") >= 3 * WAITING - WAITING - 1


@pytest.mark.asyncio
async def test_a_long_report_is_cut_to_what_an_event_takes(scene: Scene) -> None:
    scene.events.tell(owned(name="n" * 253), "shop", left(Reason.WRONG_ANNOTATION, "é" * 3000))
    (event,) = await scene.sent(1)
    assert len(event["message"].encode()) <= 1024
    assert len(event["metadata"]["name"]) <= 253


@pytest.mark.parametrize(
    ("held", "name"),
    [
        (pod(DEPLOYMENT), "web"),
        (pod(name="alone"), "alone"),
        (pod(), None),
        (pod({**DEPLOYMENT, "uid": "../5"}), None),
        ({"metadata": {"ownerReferences": [{**DEPLOYMENT, "controller": False}], "name": "mine"}}, "mine"),
        ({"metadata": {"ownerReferences": 7, "name": ["x"]}}, None),
        ({"metadata": None}, None),
        ({}, None),
    ],
)
def test_an_event_is_about_the_owner_or_else_about_a_pod_with_a_name(held: dict[str, Any], name: str | None) -> None:
    subject = subject_of(held, "shop")
    assert (subject.name if subject else None) == name
    assert subject_of(held, "") is None


@pytest.mark.asyncio
async def test_a_dry_run_leaves_no_trace(server: KubernetesServer, tmp_path: Path) -> None:
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        assert "patch" in await caller.ask(review(pod(name="tried"), dryRun=True))
        assert "patch" in await caller.ask(review(pod(name="made")))
        await until(lambda: server.all(EVENTS))
        assert [event["involvedObject"]["name"] for event in server.all(EVENTS)] == ["made"]


@pytest.mark.asyncio
async def test_an_api_server_that_takes_no_events_holds_up_no_admission(
    server: KubernetesServer, tmp_path: Path
) -> None:
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        server.silent = True
        began_s = asyncio.get_running_loop().time()
        for number in range(20):
            assert "patch" in await caller.ask(review(pod(name=f"p-{number}")))
        assert asyncio.get_running_loop().time() - began_s < 20, "each would wait for a second or more"
