"""The node's pods: each that is bound to it is run. Binds those that have no node, as there is no scheduler."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.kube.node.client import Client, Json, Key, Mirror
from tests.kube.node.network import NODE_IP
from tests.kube.node.pod import PodRun

log = logging.getLogger(__name__)

ZONE = "zone-a"


class Kubelet:
    """`pods` is the cluster's; `directory` is for the files of those that run here."""

    def __init__(self, client: Client, name: str, pods: Mirror, directory: Path) -> None:
        self._client = client
        self._name = name
        self._directory = directory
        self._runs: dict[str, PodRun] = {}  # by uid
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pods.listeners.append(self._see)

    async def live(self, prepared: asyncio.Event) -> None:
        """Tells the API server that there is such a node, when all is prepared for its pods; then until cancelled."""
        await prepared.wait()
        await self._register()
        await asyncio.Event().wait()

    async def _register(self) -> None:
        labels = {"kubernetes.io/hostname": self._name, "topology.kubernetes.io/zone": ZONE}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._name, "labels": labels}}
        path = f"/api/v1/nodes/{self._name}"
        await self._client.insist("PATCH", f"{path}?fieldManager=kubelet", node, "application/apply-patch+yaml")
        status = {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "addresses": [{"type": "InternalIP", "address": NODE_IP}],
        }
        await self._client.insist("PATCH", f"{path}/status", {"status": status})

    async def run(self) -> None:
        """Until it is cancelled, which kills all pods. Raises what goes wrong within."""
        try:
            await self._fault
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _see(self, key: Key, pod: Json | None) -> None:
        if pod is None:
            for run in [run for run in self._runs.values() if _key(run.pod) == key]:
                run.update(None)
            return
        uid = pod["metadata"]["uid"]
        for run in [run for run in self._runs.values() if _key(run.pod) == key and run.uid != uid]:
            run.update(None)  # another one by the same name
        node = pod["spec"].get("nodeName")
        if uid in self._runs:
            self._runs[uid].update(pod)
        elif node is None and not pod["metadata"].get("deletionTimestamp"):
            self._begin(self._bind(pod))
        elif node == self._name and pod["status"].get("phase") not in ("Succeeded", "Failed"):
            run = self._runs[uid] = PodRun(self._client, pod, self._directory / uid)
            run.update(pod)
            self._begin(self._run(run))

    async def _run(self, run: PodRun) -> None:
        try:
            await run.run()
        finally:
            del self._runs[run.uid]

    async def _bind(self, pod: Json) -> None:
        namespace, name = _key(pod)
        target = {"apiVersion": "v1", "kind": "Node", "name": self._name}
        binding = {"metadata": {"name": name, "uid": pod["metadata"]["uid"]}, "target": target}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
        await self._client.insist("POST", path, binding, "application/json")

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._fault.done():
            self._fault.set_exception(error)


def _key(pod: Json) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]
