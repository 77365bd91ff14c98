"""One sidecar's stream: what it wants, what it was sent, and what it is owed.

The first change is sent at once, with what comes within a few milliseconds of it: a change of one Service may be one of
several names. Later ones wait for a pause that counts from the last change sent; what the stream was never told of a
name does not. What is owed is a set of names, not a queue: when the sidecar reads slowly, changes come together in it,
and it is sent the latest state of each. A sidecar that takes nothing for long is cut off.

What a request asks for anew is looked up a few names at a time, and streams take turns: one that asks for thousands
holds up neither the changes of others nor their questions.

Versions and nonces count up from 1. A request that answers another than the last response is stale and not answered, as
the protocol has it: the sidecar says all it wants again when it answers the newer one. But what a stale one leaves out
was given up: it may be wanted again by then, and has to be told anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from injector.endpoints.assignments import Assignment, Assignments
from injector.endpoints.messages import head, part
from injector.endpoints.metrics import Metrics
from injector.endpoints.peers import Peer, PeerLimits
from injector.endpoints.request import EndedError, Node, Request, read

log = logging.getLogger(__name__)

SETTLE_S: Final = 0.01
SLICE: Final = 32
"""Names looked up in one turn."""
PARTS: Final = 500
"""Names that one response answers at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`pause_s` is between changes sent, `stuck_s` how long a response may take, one of `response_bytes` is divided."""

    streams: int = 10_000
    names: int = 5_000
    peer: PeerLimits = field(default_factory=PeerLimits)
    pause_s: float = 0.2
    stuck_s: float = 60.0
    response_bytes: int = 512 * 1024


class Stream:
    """`call` is gRPC's side of it, which takes and gives bytes; `peer` is who asks."""

    def __init__(self, call: Any, peer: Peer, assignments: Assignments, limits: Limits, metrics: Metrics) -> None:
        self._call = call
        self._peer = peer
        self._assignments = assignments
        self._limits = limits
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._node: Node | None = None  # as the first request says
        self._wanted: dict[str, Assignment] = {}
        self._sent: dict[str, bytes | None] = {}
        self._due: dict[str, float] = {}  # since when; inf for what is new to the stream
        self._refused = False
        self._number = 0
        self._rests_until_s = 0.0
        self._writing = False
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[None] = self._loop.create_future()

    async def run(self) -> None:
        """Until the sidecar ends it (returns) or we do (raises EndedError)."""
        tasks = [self._loop.create_task(self._read()), self._loop.create_task(self._write())]
        try:
            done, _ = await asyncio.wait([*tasks, self._end], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for task in tasks:
                task.cancel()
            self._end.cancel()
            self._close()

    def end(self, error: EndedError) -> None:
        """Makes `run` raise `error`."""
        if not self._end.done():
            self._end.set_exception(error)

    def on_change(self, text: str, assignment: Assignment, since_s: float) -> None:
        """See `assignments.Reader`."""
        if self._wanted.get(text) is assignment:
            self._due.setdefault(text, since_s if text in self._sent else math.inf)
            if not self._writing:
                self._wake_at(self._loop.time() + SETTLE_S)

    # ---- what the sidecar says ----

    async def _read(self) -> None:
        while (data := await self._call.read()) is not grpc.aio.EOF:
            await self._apply(read(data, self._limits.names))

    async def _apply(self, request: Request) -> None:
        if request.problem is not None:
            self._metrics.nacks.inc()
            level = logging.DEBUG if self._refused else logging.WARNING  # it may go on refusing
            self._refused = True
            log.log(level, "%s refused a response: %.200r", self._call.peer(), request.problem)
        if self._node is None:
            self._node, stale = request.node, False
        else:
            stale = request.nonce != (str(self._number) if self._number else "")
        for text in self._wanted.keys() - set(request.names):
            self._leave(text)
        if stale:
            self._metrics.stale.inc()
            return
        new = [text for text in request.names if text not in self._wanted]
        for first in range(0, len(new), SLICE):
            async with self._assignments.turn:
                for text in new[first : first + SLICE]:
                    self._join(text, self._node)
                await asyncio.sleep(0)
        if new and self._due:
            self._wake.set()

    def _join(self, text: str, node: Node) -> None:
        self._peer.take(text)
        assignment = self._wanted[text] = self._assignments.join(self, text, node.namespace, node.zone)
        self._metrics.subscriptions.inc()
        if assignment.is_known:
            self._due[text] = math.inf

    def _leave(self, text: str) -> None:
        self._assignments.leave(self, text, self._wanted.pop(text))
        self._metrics.subscriptions.dec()
        self._peer.give_back(text)
        self._sent.pop(text, None)
        self._due.pop(text, None)

    def _close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        for text in list(self._wanted):
            self._leave(text)

    # ---- what it is told ----

    def _wake_at(self, at_s: float) -> None:
        """Wakes the writer, but for mere changes not before its pause is over."""
        if math.inf not in self._due.values():
            at_s = max(at_s, self._rests_until_s)
        if self._alarm is not None:
            if self._alarm.when() <= at_s:
                return
            self._alarm.cancel()
        self._alarm = self._loop.call_at(at_s, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            self._writing = True
            for parts, since_s in self._batches(due):
                await self._send(parts, since_s)
            self._writing = False
            if self._due:
                self._wake_at(self._loop.time())

    def _batches(self, due: dict[str, float]) -> Iterator[tuple[list[bytes], float]]:
        """The parts of each response, and since when the oldest of them was due. They are as new as can be."""
        parts: list[bytes] = []
        size, oldest_s = 0, math.inf
        for text, since_s in due.items():
            assignment = self._wanted.get(text)
            if assignment is None or not assignment.is_known:
                continue
            if text in self._sent and assignment.endpoints == self._sent[text]:
                continue
            self._sent[text] = assignment.endpoints
            parts.append(part(text, assignment.endpoints))
            size, oldest_s = size + len(parts[-1]), min(oldest_s, since_s)
            if size >= self._limits.response_bytes or len(parts) >= PARTS:
                yield parts, oldest_s
                parts, size, oldest_s = [], 0, math.inf
        if parts:
            yield parts, oldest_s

    async def _send(self, parts: Iterable[bytes], since_s: float) -> None:
        self._number += 1
        response = b"".join((head(self._number), *parts))
        try:
            async with asyncio.timeout(self._limits.stuck_s):
                await self._call.write(response)
        except TimeoutError:
            text = f"nothing was read for {self._limits.stuck_s:.0f} s"
            raise EndedError(grpc.StatusCode.ABORTED, "not_reading", text) from None
        self._metrics.responses.inc()
        self._metrics.response_bytes.inc(len(response))
        if since_s < math.inf:
            now_s = self._loop.time()
            self._rests_until_s = now_s + self._limits.pause_s
            self._metrics.change.observe(now_s - since_s)
