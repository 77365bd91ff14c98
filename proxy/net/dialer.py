"""Makes the connections that the data plane wants: to endpoints that miss one, and for single calls.

One task per endpoint that misses a connection, none otherwise; one per call that needs its own, while it is made. Owns
timeouts and backoff (100 ms to 10 s, jitter on the upper half); the data plane says what is missing and is told what
came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import random
from collections.abc import Callable, Collection
from typing import Any
from weakref import WeakKeyDictionary

from proxy.dataplane import DataPlane, Dial, Endpoint, Http1Upstream, RelayEnd, UpstreamSession
from proxy.net.liveness import expect_acknowledgement, keep_alive
from proxy.net.original import is_ours

log = logging.getLogger(__name__)

STABLE_S = 0.25  # a connection that lasted this long was a good one
BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 10.0
ONLY_BACKOFF_MOST_S = 1.0  # where no other endpoint can take the calls


class _Pace:
    """How long to wait before the next dial: nothing after a good connection, longer after each bad or short one."""

    __slots__ = ("connected_at", "delay_s", "most_s")

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        self.delay_s = 0.0
        self.connected_at: float | None = None

    def before_dial(self, now: float) -> float:
        if self.connected_at is not None and now - self.connected_at >= STABLE_S:
            self.delay_s = 0.0
        return self.delay_s

    def dialled(self, connected_at: float | None) -> None:
        self.connected_at = connected_at
        self.delay_s = min(max(2 * self.delay_s, BACKOFF_FIRST_S), self.most_s)


class _Opening(asyncio.Protocol):
    """A connection that was just made; it is given to what `make` returns at once.

    Where nobody listens on a port of this machine that the system also gives out to those who connect, one in thousands
    of connections gets that very port, and so connects to itself (RFC 9293, section 3.5). It is closed: it would echo
    what callers send, and keep the application from binding its port.
    """

    def __init__(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._make = make
        self.to_itself = False

    def connection_made(self, transport: Any) -> None:
        self.to_itself = transport.get_extra_info("sockname") == transport.get_extra_info("peername")
        if self.to_itself:
            transport.abort()
            return
        protocol: Any = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class Dialer:
    """Set as the plane's `on_dial`."""

    def __init__(
        self,
        plane: DataPlane,
        *,
        own_ports: Callable[[], Collection[int]] = frozenset,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`own_ports` are those that the proxy listens on."""
        self._plane = plane
        self._own_ports = own_ports
        self._uniform = uniform
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._paces: WeakKeyDictionary[Endpoint, _Pace] = WeakKeyDictionary()
        plane.on_dial = self.wanted

    def wanted(self, what: Endpoint | Dial) -> None:
        """A call needs a connection, or an endpoint may miss one."""
        if isinstance(what, Dial):
            task = asyncio.get_running_loop().create_task(self._dial_for(what))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)
        else:
            self._keep_up(what)

    def _keep_up(self, endpoint: Endpoint) -> None:
        task = self._tasks.get(endpoint)
        if endpoint.missing and task is None:
            task = asyncio.get_running_loop().create_task(self._keep(endpoint))
            self._tasks[endpoint] = task

    def close(self) -> None:
        """Dial no more."""
        self._plane.on_dial = None
        for task in (*self._tasks.values(), *self._dials):
            task.cancel()

    async def _keep(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        pace = self._paces.setdefault(endpoint, _Pace(ONLY_BACKOFF_MOST_S if endpoint.cluster.only else BACKOFF_MOST_S))
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
        endpoint.connecting += 1
        try:
            if endpoint.cluster.protocol == "http2":
                return await self._session(endpoint)
            return await self._connect(endpoint, None)
        finally:
            endpoint.connecting -= 1

    async def _dial_for(self, dial: Dial) -> None:
        error = await self._connect(dial.endpoint, dial)
        if error is not None:
            dial.failed(error)

    async def _connect(self, endpoint: Endpoint, dial: Dial | None) -> str | None:
        """Make an HTTP/1.x or TCP connection: ready as soon as it stands; returns why there is none."""
        make = Http1Upstream if endpoint.cluster.protocol == "http1" else RelayEnd
        timeout_s = endpoint.cluster.connect_timeout_s
        try:
            # HTTP tells a call that comes back by its connection; in bytes passed through nothing would tell.
            if endpoint.port in self._own_ports() and is_ours(endpoint.host):
                return "the endpoint is a listener of this proxy"
            async with asyncio.timeout(timeout_s):
                await self._open(lambda: make(endpoint, dial), endpoint)
        except TimeoutError:
            return f"no connection within {timeout_s:g} s"
        except OSError as error:
            return f"connect: {error.strerror or error}"
        return None

    async def _session(self, endpoint: Endpoint) -> str | None:
        """Make an HTTP/2 connection: ready when the endpoint's SETTINGS are there; returns why it is not."""
        settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def on_ready(_session: UpstreamSession, error: str | None) -> None:
            if not settled.done():
                settled.set_result(error)

        timeout_s = endpoint.cluster.connect_timeout_s
        transport: Any = None
        try:
            async with asyncio.timeout(timeout_s):
                transport = await self._open(lambda: UpstreamSession(self._plane, endpoint, on_ready), endpoint)
                return await settled
        except TimeoutError:
            if transport is None:
                return f"no connection within {timeout_s:g} s"
            transport.abort()
            return f"connected, but no HTTP/2 SETTINGS within {timeout_s:g} s"
        except OSError as error:
            return f"connect: {error.strerror or error}"

    async def _open(self, make: Callable[[], asyncio.BaseProtocol], endpoint: Endpoint) -> Any:
        transport, opening = await asyncio.get_running_loop().create_connection(
            lambda: _Opening(make), endpoint.host, endpoint.port
        )
        if opening.to_itself:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # closed again already
            keep_alive(sock)
            if endpoint.cluster.protocol == "http2":
                expect_acknowledgement(sock)
        return transport
