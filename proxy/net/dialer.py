"""Keeps as many connections to each endpoint as the data plane wants, with backoff where they fail.

One task per endpoint that misses a connection, none otherwise. Owns timeouts and backoff (100 ms to 10 s,
jitter on the upper half); the data plane says what is missing and is told what came of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from proxy.dataplane import DataPlane, Endpoint, UpstreamSession

log = logging.getLogger(__name__)

STABLE_S = 0.25  # a connection that lasted this long was a good one
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 10.0
DEAD_PEER_MS = 30_000  # how long bytes may stay unacknowledged (TCP_USER_TIMEOUT, gRFC A18)


class _Pace:
    """How long to wait before the next dial: nothing after a good connection, longer after each bad or short one."""

    __slots__ = ("connected_at", "delay_s")

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.connected_at: float | None = None

    def before_dial(self, now: float) -> float:
        if self.connected_at is not None and now - self.connected_at >= STABLE_S:
            self.delay_s = 0.0
        return self.delay_s

    def dialled(self, connected_at: float | None) -> None:
        self.connected_at = connected_at
        self.delay_s = min(max(2 * self.delay_s, BACKOFF_FIRST_S), BACKOFF_MOST_S)


class Dialer:
    """Set as the plane's `on_dial`."""

    def __init__(self, plane: DataPlane, *, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._plane = plane
        self._uniform = uniform
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._paces: WeakKeyDictionary[Endpoint, _Pace] = WeakKeyDictionary()
        plane.on_dial = self.wanted

    def wanted(self, endpoint: Endpoint) -> None:
        """The endpoint may miss a connection."""
        task = self._tasks.get(endpoint)
        if endpoint.missing and task is None:
            task = asyncio.get_running_loop().create_task(self._keep(endpoint))
            self._tasks[endpoint] = task

    def close(self) -> None:
        """Dial no more."""
        self._plane.on_dial = None
        for task in self._tasks.values():
            task.cancel()

    async def _keep(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        pace = self._paces.setdefault(endpoint, _Pace())
        try:
            while endpoint.missing:
                delay_s = pace.before_dial(loop.time())
                if delay_s and not endpoint.ready:
                    await asyncio.sleep(self._uniform(delay_s / 2, delay_s))
                known = endpoint.last_error
                error = await self._dial(endpoint)
                pace.dialled(loop.time() if error is None else None)
                if error is None:
                    continue
                endpoint.dial_failed(error)
                if error != known:
                    log.warning("endpoint %s of cluster %s: %s", endpoint.address, endpoint.cluster.name, error)
        finally:
            del self._tasks[endpoint]

    async def _dial(self, endpoint: Endpoint) -> str | None:
        """Make one connection and wait until it takes calls; returns why it does not."""
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[str | None] = loop.create_future()

        def on_ready(_session: UpstreamSession, error: str | None) -> None:
            if not settled.done():
                settled.set_result(error)

        timeout_s = endpoint.cluster.connect_timeout_s
        transport: Any = None
        endpoint.connecting += 1
        try:
            async with asyncio.timeout(timeout_s):
                transport, _ = await loop.create_connection(
                    lambda: UpstreamSession(self._plane, endpoint, on_ready), endpoint.host, endpoint.port
                )
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
                return await settled
        except TimeoutError:
            if transport is None:
                return f"no connection within {timeout_s:g} s"
            transport.abort()
            return f"connected, but no HTTP/2 SETTINGS within {timeout_s:g} s"
        except OSError as error:
            return f"connect: {error.strerror or error}"
        finally:
            endpoint.connecting -= 1
