"""One pod on the node, from its first init container to its last signal."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.kube.node.client import UNREACHABLE, Client, Json, RefusedError
from tests.kube.node.container import Container
from tests.kube.node.network import NODE_IP, PodNetwork, pod_network
from tests.kube.node.sandbox import Sandbox

log = logging.getLogger(__name__)

AGAIN_S = 0.5
LAST_GRACE_S = 2.0  # what sidecars have when nothing of the grace period is left, as a kubelet gives it


class PodRun:
    """Runs a pod, keeps its status in the API, and deletes it when it has ended."""

    def __init__(self, client: Client, pod: Json, directory: Path) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self._client = client
        self._directory = directory
        self._changed = asyncio.Event()
        self._deleted = asyncio.Event()
        self._began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._phase = "Pending"
        self._initialized = False
        self._network: asyncio.Task[PodNetwork] | None = None
        self._ip = ""
        self._inits: list[Container] = []
        self._mains: list[Container] = []
        self._tasks: list[asyncio.Task[None]] = []

    def update(self, pod: Json | None) -> None:
        """What the API has of it now; None if it is gone there, and so must be here."""
        if pod is None:
            for container in (*self._mains, *self._inits):
                container.kill()
            self._deleted.set()
        elif pod["metadata"].get("deletionTimestamp"):
            self.pod = pod
            self._deleted.set()

    async def run(self) -> None:
        """Until it has ended and is deleted. Cancelled, it kills all that runs in it."""
        deleted = asyncio.create_task(self._deleted.wait())
        reporting = asyncio.create_task(self._report())
        living = asyncio.create_task(self._live())
        try:
            await asyncio.wait({living, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
                self._phase = "Failed" if any(each.exit_status for each in self._mains) else "Succeeded"
            await _ended(living)
            await self._stop()
            self._changed.set()
            await deleted
            await _ended(reporting)
            await self._client.insist("PATCH", f"{self._path}/status", {"status": self._status()})
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
            await self._client.insist("DELETE", self._path, options, "application/json")
        finally:
            for container in (*self._mains, *self._inits):
                container.kill()
            await _ended(living, reporting, deleted, *self._tasks)
            if self._network is not None:
                network = await self._network
                await asyncio.to_thread(network.close)

    # ---- its life ----

    async def _live(self) -> None:
        """Returns when all its containers have ended and none is started again."""
        await self._prepare()
        for container in self._inits:
            running = self._start(container)
            if _is_sidecar(container):
                await container.started.wait()
            else:
                await _all_of(running)
        self._initialized = True
        self._phase = "Running"
        mains = []
        for container in self._mains:
            mains.append(self._start(container))
            if "postStart" in (container.spec.get("lifecycle") or {}):
                await container.started.wait()
        self._changed.set()
        await _all_of(*mains)

    async def _prepare(self) -> None:
        self._directory.mkdir(parents=True)
        self._network = asyncio.create_task(asyncio.to_thread(pod_network, self.pod["metadata"]["name"]))
        # A thread cannot be cancelled: what it makes is closed at the end in any case.
        network = await asyncio.shield(self._network)
        self._ip = network.ip
        sandbox = Sandbox(self.pod, network, self._directory)
        spec = self.pod["spec"]
        self._inits = [self._container(each, sandbox, init=True) for each in spec.get("initContainers", [])]
        self._mains = [self._container(each, sandbox, init=False) for each in spec["containers"]]
        self._changed.set()
        while True:
            try:
                return await sandbox.prepare(self._client)
            except (RefusedError, *UNREACHABLE) as error:
                log.warning("%s waits for its volumes: %s", self.pod["metadata"]["name"], error)
                await asyncio.sleep(AGAIN_S)

    def _container(self, spec: Json, sandbox: Sandbox, *, init: bool) -> Container:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        if init:
            # An init container is done when it has succeeded, but a sidecar never is.
            policy = spec.get("restartPolicy") or ("Never" if policy == "Never" else "OnFailure")
        return Container(
            spec,
            sandbox,
            lambda status: policy == "Always" or (policy == "OnFailure" and status != 0),
            self._changed.set,
        )

    def _start(self, container: Container) -> "asyncio.Task[None]":
        task = asyncio.create_task(container.run())
        self._tasks.append(task)
        task.add_done_callback(_log_fault)
        return task

    async def _stop(self) -> None:
        """Sidecars end last, and in the other order than they were started."""
        grace_s = self.pod["metadata"].get("deletionGracePeriodSeconds")
        grace_s = self.pod["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
        until_s = time.monotonic() + grace_s
        first = [*self._mains, *(each for each in self._inits if not _is_sidecar(each))]
        await asyncio.gather(*(container.stop(grace_s) for container in first))
        for container in reversed([each for each in self._inits if _is_sidecar(each)]):
            await container.stop(max(LAST_GRACE_S, until_s - time.monotonic()))

    # ---- its status ----

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    async def _report(self) -> None:
        """Tells the API server of every change; of those that come together once."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._client.insist("PATCH", f"{self._path}/status", {"status": self._status()})

    def _status(self) -> Json:
        # A sidecar counts for the pod's readiness as its other containers do.
        counted = [*self._mains, *(each for each in self._inits if _is_sidecar(each))]
        ready = self._phase == "Running" and all(each.ready for each in counted)
        conditions = {
            "PodReadyToStartContainers": bool(self._ip),
            "PodScheduled": True,
            "Initialized": self._initialized,
            "ContainersReady": ready,
            "Ready": ready,
        }
        status: Json = {
            "phase": self._phase,
            "startTime": self._began,
            "hostIP": NODE_IP,
            "hostIPs": [{"ip": NODE_IP}],
            "conditions": [{"type": name, "status": str(value)} for name, value in conditions.items()],
            "containerStatuses": [each.status for each in self._mains],
            "initContainerStatuses": [each.status for each in self._inits],
        }
        if self._ip:
            status |= {"podIP": self._ip, "podIPs": [{"ip": self._ip}]}
        return status


def _log_fault(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a container cannot be run", exc_info=error)


def _is_sidecar(container: Container) -> bool:
    return bool(container.spec.get("restartPolicy") == "Always")


async def _all_of(*tasks: "asyncio.Task[None]") -> None:
    """Waits for all to end, or one to fail; unlike `gather`, it does not cancel them when it is cancelled."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


async def _ended(*tasks: "asyncio.Task[None] | asyncio.Task[bool]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
