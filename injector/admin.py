"""The controller's admin pages: metrics, health, its version, and what it knows of an authority.

    /metrics     Prometheus' text, or OpenMetrics if asked for
    /live        200 while the event loop runs
    /ready       200 when pods and sidecars are served rightly, else 503 and the reason
    /version     {"version": ...}
    /endpoints   ?authority=A[&namespace=N][&zone=Z]: the endpoints that a sidecar would get, or 404

Owns the paths and their answers. It has no authentication: it shows what the metrics of any pod show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from proxy.address import SocketAddress
from proxy.bound import bound, place
from proxy.discovery.kubernetes.catalog import Catalog, Target
from proxy.discovery.kubernetes.merge import Member
from proxy.discovery.kubernetes.names import parse_authority
from proxy.version import VERSION

STOP_GRACE_S: Final = 1.0


class AdminServer:
    """Answers on one address from `start` to `stop`."""

    def __init__(
        self,
        address: SocketAddress,
        registry: CollectorRegistry,
        ready: Callable[[], tuple[bool, str]],
        catalog: Catalog,
        domain: str,
    ) -> None:
        """`ready` says whether, and if not why; `domain` is the cluster's."""
        self._registry = registry
        self._ready = ready
        self._catalog = catalog
        self._domain = domain
        self._runner: web.AppRunner | None = None
        self.address = address

    async def start(self) -> None:
        """Binds and listens; `address` is then the real one. Raises OSError."""
        pages = web.Application()
        pages.router.add_get("/metrics", self._metrics)
        pages.router.add_get("/live", _live)
        pages.router.add_get("/ready", self._say_ready)
        pages.router.add_get("/version", _version)
        pages.router.add_get("/endpoints", self._endpoints)
        wire = bound(self.address)
        self.address = place(wire)
        self._runner = web.AppRunner(pages, access_log=None, shutdown_timeout=STOP_GRACE_S)
        await self._runner.setup()
        await web.SockSite(self._runner, wire).start()

    async def stop(self) -> None:
        """Accepts no more; answers on their way have STOP_GRACE_S."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _say_ready(self, _: web.Request) -> web.Response:
        is_ready, reason = self._ready()
        return web.Response(text="ready\n") if is_ready else web.Response(text=f"{reason}\n", status=503)

    async def _endpoints(self, request: web.Request) -> web.Response:
        authority = request.query.get("authority", "")
        if not authority:
            return _error(400, "say which: ?authority=HOST:PORT[&namespace=NAMESPACE][&zone=ZONE]")
        if not self._catalog.complete:
            return _error(503, "the first lists of Services and EndpointSlices are not complete yet")
        name = parse_authority(authority, request.query.get("namespace", ""), self._domain)
        target = self._catalog.find(name, request.query.get("zone", "")) if name is not None else None
        if target is None:
            return _error(404, f"{authority!r} is no Service and no pod known here")
        return web.json_response(_described(authority, target))


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="live\n")


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"version": VERSION})


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _described(authority: str, target: Target) -> dict[str, Any]:
    return {
        "authority": authority,
        "service": "/".join(target.service) if target.service else None,
        "protocol": target.protocol,
        "endpoints": [_endpoint(member) for member in target.members],
    }


def _endpoint(member: Member) -> dict[str, Any]:
    address = member.address
    return {
        "address": address.host,
        "port": address.port,
        "weight": address.weight,
        "pod": address.pod,
        "uid": address.uid,
        "zone": member.endpoint.zone,
    }
