"""One container: its process, its probes, its restarts, its end."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.kube.node.client import Json
from tests.kube.node.images import Image, image
from tests.kube.node.probes import Probe
from tests.kube.node.sandbox import Sandbox

log = logging.getLogger(__name__)

BACKOFF_S = (0.5, 10.0)  # a kubelet begins with ten seconds, and goes up to five minutes


class Container:
    """A container of a pod. `changed` is called when its status is another; `restarts` says whether it is run again."""

    def __init__(
        self, spec: Json, sandbox: Sandbox, restarts: Callable[[int], bool], changed: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.started = asyncio.Event()
        self.ready = False
        self.exit_status: int | None = None  # of its last end, if it does not run now
        self._sandbox = sandbox
        self._restarts = restarts
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._count = 0
        self._state: Json = {"waiting": {"reason": "PodInitializing"}}
        self._last: Json = {}
        self._stopping = False

    @property
    def status(self) -> Json:
        """As the API has it."""
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": self.spec["image"],
            "ready": self.ready,
            "started": self.started.is_set(),
            "restartCount": self._count,
            "state": self._state,
            "lastState": self._last,
        }

    async def run(self) -> None:
        """Runs it, again whenever it ends and is to be restarted; returns when it is not."""
        backoff_s, highest_s = BACKOFF_S
        while True:
            status = await self._run_once()
            if self._stopping or not self._restarts(status):
                return
            self._count += 1
            log.info("%s ended with %d and is started again", self.name, status)
            self._last, self._state = self._state, {"waiting": {"reason": "CrashLoopBackOff"}}
            self._changed()
            await asyncio.sleep(backoff_s)
            backoff_s = min(highest_s, backoff_s * 2)
            if self._stopping:
                return

    async def stop(self, grace_s: float) -> None:
        """Its preStop hook, SIGTERM, and SIGKILL if that is not its end within `grace_s`."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                if hook := (self.spec.get("lifecycle") or {}).get("preStop"):
                    await self._hook(hook)
                _signal(process, signal.SIGTERM)
                await process.wait()
        _signal(process, signal.SIGKILL)
        await process.wait()

    def kill(self) -> None:
        """SIGKILL, and no restart."""
        self._stopping = True
        if self._process is not None:
            _signal(self._process, signal.SIGKILL)

    # ---- within ----

    async def _run_once(self) -> int:
        found = image(self.spec["image"])
        if found is None:
            self._set({"waiting": {"reason": "ErrImagePull", "message": f"no image {self.spec['image']}"}})
            await asyncio.Event().wait()
            raise AssertionError("waited for ever")
        began = _now()
        self.exit_status = None
        self._process = process = await self._sandbox.start(self.spec, found)
        if self._stopping:
            _signal(process, signal.SIGKILL)  # it was told so while it started
        self._set({"running": {"startedAt": began}})
        watching = asyncio.create_task(self._watch(process))
        try:
            status = await process.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            _signal(process, signal.SIGKILL)
        self.ready = False
        self.started.clear()
        self.exit_status = status
        reason = "Completed" if status == 0 else "Error"
        ended = {"exitCode": status % 256, "reason": reason, "startedAt": began, "finishedAt": _now()}
        self._set({"terminated": ended})
        return status

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """The hook after its start, then its probes: the others only when the first says that it has started."""
        if (hook := (self.spec.get("lifecycle") or {}).get("postStart")) and not await self._hook(hook):
            log.warning("the postStart hook of %s failed", self.name)
            _signal(process, signal.SIGKILL)
            return
        if spec := self.spec.get("startupProbe"):
            await self._until_started(spec, process)
        self.started.set()
        if "readinessProbe" not in self.spec:
            self._set_ready(True)
        async with asyncio.TaskGroup() as tasks:
            if spec := self.spec.get("readinessProbe"):
                tasks.create_task(self._probe(spec).run(self._set_ready))
            if spec := self.spec.get("livenessProbe"):
                tasks.create_task(self._probe(spec).run(lambda alive: self._judge(process, alive=alive)))

    async def _until_started(self, spec: Json, process: asyncio.subprocess.Process) -> None:
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asking = asyncio.create_task(
            self._probe(spec).run(lambda good: None if outcome.done() else outcome.set_result(good))
        )
        try:
            if not await outcome:
                log.warning("%s did not start in time", self.name)
                _signal(process, signal.SIGKILL)
                await asyncio.Event().wait()
        finally:
            asking.cancel()

    def _judge(self, process: asyncio.subprocess.Process, *, alive: bool) -> None:
        if not alive:
            log.warning("%s is not alive", self.name)
            _signal(process, signal.SIGTERM)

    def _probe(self, spec: Json) -> Probe:
        return Probe(spec, self.spec, self._sandbox.network.ip, self._execute)

    async def _hook(self, hook: Json) -> bool:
        if "exec" in hook:
            return await self._execute(hook["exec"]["command"]) == 0
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
            return True
        return await self._probe(hook).ask()

    async def _execute(self, command: list[str]) -> int:
        assert self._process is not None
        return await self._sandbox.execute(self.spec, self._image, self._process.pid, command)

    @property
    def _image(self) -> Image:
        found = image(self.spec["image"])
        assert found is not None, "it runs"
        return found

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._changed()

    def _set(self, state: Json) -> None:
        self._state = state
        self._changed()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    """To its whole process group if it is to be killed, as a container ends with all that is in it."""
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.send_signal(number)


def _now() -> Any:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
