"""The drain: promise nothing new, finish what runs, still take late arrivals (semantics: 5 and 13).

Two moments, and an end. At the start every connection from a client is told: GOAWAY over HTTP/2, `Connection: close`
with the next response over HTTP/1.x. Connections that still come are served, for lists of endpoints lag behind; over
HTTP/2 they are told nothing yet, so that a client whose list lags does not spin. When late arrivals are over nothing is
accepted any more, and they are told as well. The end is when no connection is left but kept-alive ones without a
request, or when the grace period is over.

Outbound listeners go on as before all the time: an application that is shutting down still makes calls. Their
connections are waited for like the others; they are gone when the application is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from proxy.dataplane import DataPlane
from proxy.net.gate import Gate
from proxy.net.intake import Intake
from proxy.net.listener import Listener

log = logging.getLogger("meshctl")

LATE_ARRIVALS_S = 5.0  # how long connections are still accepted


class Drain:
    """`run` drains, once; `end` ends it at once, also before."""

    def __init__(self, plane: DataPlane, gate: Gate) -> None:
        self._plane = plane
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._outbound: dict[str, Intake] = {}

    def end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def run(self, listeners: Collection[Listener], intakes: Collection[Intake], grace_s: float) -> None:
        """Returns when all has ended, after `grace_s`, or when `end` is called."""
        log.info("draining: %d calls in flight", self._plane.calls)
        self._outbound = {each.config.name: each for each in intakes if each.config.intercept == "outbound"}
        for intake in intakes:
            intake.draining = intake.config.name not in self._outbound
        self._tell()
        closing = [listener for listener in listeners if listener.name not in self._outbound]
        late = self._loop.call_later(min(LATE_ARRIVALS_S, grace_s), self._late_arrivals_over, closing)
        try:
            async with asyncio.timeout(grace_s):
                await self._over
        except TimeoutError:
            log.warning("the grace period is over: %d calls are cut", self._plane.calls)
        finally:
            late.cancel()
            self._gate.on_leave = None

    def _late_arrivals_over(self, closing: Collection[Listener]) -> None:
        for listener in closing:
            listener.stop()
        self._tell()
        self._look()

    def _tell(self) -> None:
        for connection in list(self._plane.downstreams):
            if connection.origin.listener not in self._outbound:
                connection.drain()

    def _left(self) -> None:
        """A connection is gone: once for all that go in one round of the event loop, see what is left."""
        self._gate.on_leave = None
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        running = any(not each.idle or each.origin.listener in self._outbound for each in self._plane.downstreams)
        if running or any(intake.looking for intake in self._outbound.values()):
            self._gate.on_leave = self._left
        else:
            self.end()
