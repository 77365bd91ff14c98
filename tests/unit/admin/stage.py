"""An admin server on loopback, and clients for it."""

import asyncio
import contextlib
import http.client
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from proxy.admin.connection import Timeouts
from proxy.admin.exposition import Exposition
from proxy.admin.metrics import Build, PlaneCollector
from proxy.admin.server import AdminServer
from tests.support.ports import split_address
from tests.unit.fake_plane import BUCKETS_S, CallStats, Plane, busy_intakes, busy_plane

GET_LIVE = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
SHORT = Timeouts(idle_s=0.5, request_s=0.5, response_s=0.5)

Run = Callable[[Awaitable[None]], None]


@dataclass
class Source:
    """A proxy as the admin server sees it."""

    plane: Plane = field(default_factory=busy_plane)
    is_ready: bool = True
    shutdowns: int = 0
    fault: Exception | None = None

    def config(self) -> dict[str, Any]:
        if self.fault:
            raise self.fault
        return {"shutdown_grace_s": 30, "listeners": [{"name": "outbound", "address": "127.0.0.1:4140"}]}

    def ready(self) -> tuple[bool, str]:
        return (True, "") if self.is_ready else (False, "no endpoints yet for voting")

    def shutdown(self) -> None:
        self.shutdowns += 1


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def admin_server(source: Source, timeouts: Timeouts | None = None, probe_ports: Collection[int] = ()) -> AdminServer:
    collector = PlaneCollector(source.plane, busy_intakes(), BUCKETS_S, Build("1", "1"))
    return AdminServer(source, Exposition(collector), timeouts, probe_ports)


@contextlib.asynccontextmanager
async def serving(
    source: Source, timeouts: Timeouts | None = None, host: str = "127.0.0.1", probe_ports: Collection[int] = ()
) -> AsyncIterator[AdminServer]:
    server = admin_server(source, timeouts, probe_ports)
    await server.start(host, 0)
    try:
        yield server
    finally:
        async with asyncio.timeout(30):
            await server.stop()


@contextlib.asynccontextmanager
async def connected(
    server: AdminServer, limit: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*split_address(server.address), limit=limit)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Replayed(io.BytesIO):
    """What `http.client` takes for a socket: it reads one answer after another from the same bytes."""

    def makefile(self, _mode: str) -> "Replayed":
        return self

    def close(self) -> None:
        pass


def answers(received: bytes, method: str = "GET") -> list[Answer]:
    """Reads what a server sent with the standard library's parser."""
    replayed = Replayed(received)
    found = []
    while replayed.tell() < len(received):
        response = http.client.HTTPResponse(replayed, method=method)  # type: ignore[arg-type]
        response.begin()
        fields = {name.lower(): value for name, value in response.getheaders()}
        found.append(Answer(response.status, fields, response.read()))
    return found


async def received(server: AdminServer, request: bytes) -> bytes:
    """All that comes back for `request` until the server closes."""
    async with connected(server) as (reader, writer), asyncio.timeout(30):
        writer.write(request)
        return await reader.read()


async def ask(server: AdminServer, path: str, method: str = "GET", *fields: str) -> Answer:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]
    (answer,) = answers(await received(server, "\r\n".join(lines).encode()), method)
    return answer


def large_plane(endpoints: int = 400) -> Plane:
    return Plane(stats=[CallStats(endpoint=f"10.0.0.{i}:80", pod=f"voting-{i}", started=i) for i in range(endpoints)])
