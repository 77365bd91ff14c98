"""The admin server: what an operator, a scraper and the kubelet may ask a running proxy, over HTTP/1.1.

Owns the listening socket, the paths and their answers, and a bound on how many clients it serves at a time.
It runs in the event loop that moves the calls, so nothing it does is long. It sees the proxy only as an
`AdminSource` and knows nothing of how the proxy is wired. It has no authentication: what it shows anybody sees who
reaches it, and what stops the proxy it takes from loopback alone.
"""

import asyncio
import json
import math
from collections.abc import Callable, Collection, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from proxy.address import SocketAddress
from proxy.admin.connection import Connection, Response, Timeouts, refusal
from proxy.admin.exposition import Exposition
from proxy.admin.http1 import MAX_LINE_BYTES, Request
from proxy.admin.probe import probe
from proxy.admin.source import AdminSource, Cluster, Endpoint
from proxy.bound import bound

MAX_CONNECTIONS = 64
MAX_REFUSALS = 64
STOP_GRACE_S = 1.0
JSON = "application/json"
PROBE = "/probe/tcp/"

PATHS = {
    "/metrics": ("GET", "metrics for Prometheus"),
    "/live": ("GET", "200 while the event loop runs"),
    "/ready": ("GET", "200 when calls are welcome, else 503 and the reason"),
    "/endpoints": ("GET", "clusters and their endpoints as the balancers see them now, JSON"),
    "/config": ("GET", "the configuration in force, JSON"),
    f"{PROBE}PORT": ("GET", "200 when the pod accepts connections to that port, else 503 and the reason"),
    "/shutdown": ("POST", "drain and exit, as SIGTERM does; only from loopback"),
}


class AdminServer:
    """Answers on one address from `start` to `stop`. Both are called once."""

    def __init__(
        self,
        source: AdminSource,
        exposition: Exposition,
        timeouts: Timeouts | None = None,
        probe_ports: Collection[int] = (),
    ) -> None:
        self._source = source
        self._exposition = exposition
        self._timeouts = timeouts or Timeouts()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._answers: dict[str, Callable[[Request], Response]] = {
            "/": lambda _: Response(HTTPStatus.OK, _listing()),
            "/metrics": self._metrics,
            "/live": lambda _: Response(HTTPStatus.OK, ["live\n"]),
            "/ready": self._ready,
            "/endpoints": lambda _: _json(self._endpoints()),
            "/config": lambda _: _json(dict(source.config())),
            "/shutdown": self._shutdown,
        }
        self._probes = {f"{PROBE}{port}": port for port in probe_ports}

    @property
    def address(self) -> str:
        """Where it listens: "127.0.0.1:4191" or "[::1]:4191", with the port that port 0 became."""
        assert self._server is not None, "not started"
        host, port, *_ = self._server.sockets[0].getsockname()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self, host: str, port: int) -> None:
        """Binds and listens; "::" is every address of both families. Raises OSError."""
        wire = bound(SocketAddress(host, port))
        self._server = await asyncio.start_server(self._accepted, sock=wire, limit=MAX_LINE_BYTES)

    async def stop(self) -> None:
        """Accepts no more, gives answers on their way STOP_GRACE_S to finish, and closes the rest."""
        if self._server is None:
            return
        self._server.close()
        for task, connection in self._connections.items():
            connection.is_last_exchange = True
            if connection.idle:
                task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=STOP_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._server.wait_closed()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own_host = (writer.get_extra_info("sockname") or ("",))[0].removeprefix("::ffff:")
        answer = partial(self._answer, own_host, is_local(writer.get_extra_info("peername")))
        connection = Connection(reader, writer, answer, self._timeouts)
        if len(self._connections) < MAX_CONNECTIONS:
            serving = connection.serve()
        elif len(self._connections) < MAX_CONNECTIONS + MAX_REFUSALS:
            serving = connection.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        else:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(serving)
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    async def _answer(self, own_host: str, local: bool, request: Request) -> Response:
        """`own_host` is the address at which the client found this server, `local` whether it came over loopback."""
        answer = self._answers.get(request.path)
        port = self._probes.get(request.path, 0)
        if answer is None and not port:
            return refusal(HTTPStatus.NOT_FOUND, "not found")
        method = PATHS.get(request.path, ("GET", ""))[0]
        allowed = ("GET", "HEAD") if method == "GET" else (method,)
        if request.method not in allowed:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", ("Allow", ", ".join(allowed)))
        if request.path == "/shutdown" and not local:
            return refusal(HTTPStatus.FORBIDDEN, "over loopback only")
        return answer(request) if answer else await probe(own_host, port)

    def _metrics(self, request: Request) -> Response:
        scrape = self._exposition.scrape(request.fields.get("accept", ""))
        return Response(HTTPStatus.OK, scrape.text, scrape.content_type)

    def _ready(self, _: Request) -> Response:
        is_ready, reason = self._source.ready()
        if is_ready:
            return Response(HTTPStatus.OK, ["ready\n"])
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason)

    def _shutdown(self, request: Request) -> Response:
        # Only browsers send Origin. A page from elsewhere, open on this machine, must not stop the proxy.
        if "origin" in request.fields:
            return refusal(HTTPStatus.FORBIDDEN, "not from a browser")
        return Response(HTTPStatus.OK, ["draining\n"], after=self._source.shutdown)

    def _endpoints(self) -> dict[str, Any]:
        now_s = self._source.plane.now_s()
        clusters = self._source.plane.clusters
        return {key: _cluster(cluster, now_s) for key, cluster in clusters.items()}


def is_local(peer: tuple[Any, ...] | None) -> bool:
    """Whether a socket's peer (None when it has gone already) is on this host's loopback."""
    host: str = peer[0] if peer else ""
    return host == "::1" or host.removeprefix("::ffff:").startswith("127.")


def _listing() -> Iterable[str]:
    return (f"{method:<5}{path:<15} {what}\n" for path, (method, what) in PATHS.items())


def _json(value: Any) -> Response:
    # The encoder that indents is slow, but yields as it goes: a large answer costs the calls no long wait.
    text = json.JSONEncoder(indent=2, allow_nan=False).iterencode(value)
    return Response(HTTPStatus.OK, _ended(text), JSON)


def _ended(text: Iterable[str]) -> Iterable[str]:
    yield from text
    yield "\n"


def _cluster(cluster: Cluster, now_s: float) -> dict[str, Any]:
    return {
        "name": cluster.name,
        "protocol": cluster.protocol,
        "balancer": cluster.balancer,
        "pending": cluster.pending,
        "failfast": cluster.failfast,
        "update_age_s": _rounded(now_s - cluster.updated_at_s),
        "endpoints": [_endpoint(endpoint) for endpoint in cluster.endpoints],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "address": endpoint.address,
        "pod": endpoint.pod,
        "uid": endpoint.uid,
        "weight": endpoint.weight,
        "state": endpoint.state,
        "ewma_ms": _rounded(endpoint.ewma_s * 1000),
        "in_flight": endpoint.in_flight,
        "connections": endpoint.connections,
        "connect_failures": endpoint.connect_failures,
        "calls": endpoint.calls,
        "failures": endpoint.failures,
    }


def _rounded(value: float) -> float | None:
    """To three digits; what JSON cannot say becomes null."""
    return round(value, 3) if math.isfinite(value) else None
