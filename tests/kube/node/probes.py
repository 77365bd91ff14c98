"""Asking a container how it is, as a kubelet does: over HTTP, TCP, gRPC, or with a command in it."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import grpc

from tests.kube.node.client import Json

Execute = Callable[[list[str]], Awaitable[int]]

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


class Probe:
    """One probe of one container at `ip`; `execute` runs a command in it."""

    def __init__(self, spec: Json, container: Json, ip: str, execute: Execute) -> None:
        self._spec = spec
        self._ports = {port["name"]: port["containerPort"] for port in container.get("ports", []) if "name" in port}
        self._ip = ip
        self._execute = execute
        self._period_s = float(spec.get("periodSeconds", 10))
        self._timeout_s = float(spec.get("timeoutSeconds", 1))
        self._failures = int(spec.get("failureThreshold", 3))
        self._successes = int(spec.get("successThreshold", 1))

    async def run(self, tell: Callable[[bool], None]) -> None:
        """Asks until it is cancelled, and tells the outcome each time that a threshold is reached."""
        await asyncio.sleep(float(self._spec.get("initialDelaySeconds", 0)))
        good = bad = 0
        while True:
            if await self.ask():
                good, bad = good + 1, 0
                if good >= self._successes:
                    tell(True)
            else:
                good, bad = 0, bad + 1
                if bad >= self._failures:
                    tell(False)
            await asyncio.sleep(self._period_s)

    async def ask(self) -> bool:
        """One question."""
        with contextlib.suppress(OSError, EOFError, TimeoutError, aiohttp.ClientError, grpc.RpcError):
            async with asyncio.timeout(self._timeout_s):
                return await self._ask()
        return False

    async def _ask(self) -> bool:
        spec = self._spec
        if "exec" in spec:
            return await self._execute(spec["exec"]["command"]) == 0
        if "httpGet" in spec:
            return await self._get(spec["httpGet"])
        if "grpc" in spec:
            return await self._check(spec["grpc"])
        _, writer = await asyncio.open_connection(self._ip, self._port(spec["tcpSocket"]))
        writer.close()
        return True

    async def _get(self, spec: Json) -> bool:
        scheme = spec.get("scheme", "HTTP").lower()
        url = f"{scheme}://{self._ip}:{self._port(spec)}{spec.get('path', '/')}"
        headers = {header["name"]: header["value"] for header in spec.get("httpHeaders", [])}
        tls = ssl._create_unverified_context() if scheme == "https" else True
        async with (
            aiohttp.ClientSession(headers={"User-Agent": "kube-probe/1.34", **headers}) as session,
            session.get(url, ssl=tls, allow_redirects=False) as response,
        ):
            return 200 <= response.status < 400

    async def _check(self, spec: Json) -> bool:
        name = str(spec.get("service") or "").encode()
        async with grpc.aio.insecure_channel(f"{self._ip}:{spec['port']}") as channel:
            request = (b"\x0a" + bytes([len(name)]) + name) if name else b""
            return bool(await channel.unary_unary(_HEALTH)(request) == _SERVING)

    def _port(self, spec: Json) -> int:
        port = spec["port"]
        return port if isinstance(port, int) else self._ports[port]
