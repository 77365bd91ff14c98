"""The programs of the demo on loopback: what is started with which options, and how one asks them things.

Three voting pods and one emoji pod run all the time; the web front, with the bot that votes through it,
reaches them either through the connection balancer or through the proxy. Knows nothing of phases.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import signal
import socket
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from meshctl.demo.programs import Program, Programs

_HTTP_TIMEOUT_S = 5.0
# Below the range from which Linux takes the ports of outgoing connections, so that the port of a pod
# that is away for a while cannot be taken meanwhile.
_PORTS = range(20000, 32000)


@dataclass(frozen=True, slots=True)
class Pod:
    """A voting pod, running or not."""

    name: str
    address: str


class Application:
    """Starts and stops the demo's programs; whatever still runs is stopped by `programs`.

    Every method that starts something raises ProgramError when that does not start.
    """

    def __init__(self, programs: Programs, sources: Path, work_dir: Path, votes_per_s: float) -> None:
        self._programs = programs
        self._sources = sources
        self._config = work_dir / "proxy.yaml"
        self._votes_per_s = votes_per_s
        self._voting: dict[Pod, Program] = {}
        addresses = _free_addresses(8)
        self.pods = tuple(Pod(f"voting-{number}", addresses.pop()) for number in (1, 2, 3))
        self.web_address = addresses.pop()
        self.admin_address = addresses.pop()
        self._emoji_address = addresses.pop()
        self._balancer_address = addresses.pop()
        self._proxy_address = addresses.pop()

    async def start_services(self) -> None:
        """Start the emoji pod and the voting pods."""
        started = await asyncio.gather(
            self._start_listening("emoji", self._emoji_address, self._source("emoji")),
            *(self.start_pod(pod) for pod in self.pods),
            return_exceptions=True,
        )
        for result in started:
            if isinstance(result, BaseException):
                raise result

    async def start_pod(self, pod: Pod) -> None:
        """Start a voting pod, on the address it always has; return when it listens."""
        self._voting[pod] = await self._start_listening(
            pod.name, pod.address, self._source("voting"), "--pod-name", pod.name
        )

    async def stop_pod(self, pod: Pod) -> None:
        """Stop a voting pod with SIGTERM: it finishes the calls it has, and ends."""
        await self._programs.stop(self._voting.pop(pod))

    def slow_down(self, pod: Pod) -> None:
        """Make a pod take 50 ms longer for each answer."""
        self._voting[pod].process.send_signal(signal.SIGUSR1)

    def speed_up(self, pod: Pod) -> None:
        """Make a slow pod normal again."""
        self._voting[pod].process.send_signal(signal.SIGUSR2)

    async def start_connection_balancer(self) -> Program:
        """Start what stands for kube-proxy in front of the voting pods."""
        listen = ["-m", "meshctl.demo.connection_balancer", "--listen", self._balancer_address]
        return await self._programs.start(
            "connection-balancer",
            [*listen, *(pod.address for pod in self.pods)],
            lambda: _accepts(self._balancer_address),
        )

    async def start_proxy(self) -> Program:
        """Start the proxy, with all voting pods as its endpoints."""

        async def ready() -> bool:
            try:
                status, _ = await _get(self.admin_address, "/ready")
            except OSError:
                return False
            return status == 200

        self._write_config(self.pods)
        return await self._programs.start("proxy", ["-m", "proxy", "--config", str(self._config)], ready)

    def set_endpoints(self, proxy: Program, pods: Iterable[Pod]) -> None:
        """Tell the proxy which voting pods there are, as the control plane of Kubernetes would."""
        self._write_config(pods)
        proxy.process.send_signal(signal.SIGHUP)

    async def start_web(self, *, through_proxy: bool) -> Program:
        """Start the web front: its calls go to the proxy, or where Kubernetes alone would take them."""
        emoji, voting = (
            (self._proxy_address, self._proxy_address)
            if through_proxy
            else (self._emoji_address, self._balancer_address)
        )
        options = ["--emoji-address", emoji, "--voting-address", voting]
        return await self._start_listening("web", self.web_address, self._source("web"), *options)

    async def start_bot(self) -> Program:
        """Start the bot that votes through the web front."""

        async def ready() -> bool:
            return True

        options = ["--web-address", self.web_address, "--votes-per-s", str(self._votes_per_s)]
        return await self._programs.start("bot", [self._source("bot"), *options], ready)

    async def stats(self) -> Any:
        """Return the JSON of the web front's /stats. Raises OSError when it does not answer."""
        _, body = await _get(self.web_address, "/stats")
        return json.loads(body)

    def _source(self, name: str) -> str:
        return str(self._sources / f"{name}.py")

    async def _start_listening(self, name: str, address: str, source: str, *options: str) -> Program:
        host, _, port = address.rpartition(":")
        argv = [source, "--host", host, "--port", port, *options]
        return await self._programs.start(name, argv, lambda: _accepts(address))

    def _write_config(self, pods: Iterable[Pod]) -> None:
        voting = [{"address": pod.address, "pod": pod.name} for pod in pods]
        emoji = [{"address": self._emoji_address, "pod": "emoji-1"}]
        config = {
            "admin": {"address": self.admin_address},
            # By the time the proxy is stopped, nobody is left who calls through it.
            "shutdown_grace_s": 1,
            "listeners": [{"name": "outbound", "address": self._proxy_address}],
            "clusters": [
                {"name": "voting", "static": {"endpoints": voting}},
                {"name": "emoji", "static": {"endpoints": emoji}},
            ],
            "routes": [
                {"match": {"service": "emojivoto.v1.VotingService"}, "cluster": "voting"},
                {"match": {"service": "emojivoto.v1.EmojiService"}, "cluster": "emoji"},
            ],
        }
        # Never half a file: the proxy may read it at any moment.
        fresh = self._config.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(config, sort_keys=False))
        fresh.replace(self._config)


def _free_addresses(count: int) -> list[str]:
    """Return loopback addresses that nothing listens on. Raises OSError when there are too few."""
    found: list[str] = []
    for port in random.sample(_PORTS, 500):
        if len(found) == count:
            return found
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(f"127.0.0.1:{port}")
    raise OSError("not enough free ports on 127.0.0.1")


async def _accepts(address: str) -> bool:
    """Whether something listens on the address."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def _get(address: str, path: str) -> tuple[int, bytes]:
    def get() -> tuple[int, bytes]:
        host, _, port = address.rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=_HTTP_TIMEOUT_S)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    try:
        return await asyncio.to_thread(get)
    except http.client.HTTPException as error:
        raise OSError(f"http://{address}{path}: {error}") from error
