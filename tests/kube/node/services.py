"""Addresses of Services, for connections that no sidecar looks into: iptables rules in the node's namespace.

As kube-proxy's: each connection to a Service's address goes to one of its pods at random, and stays there. All rules
are replaced in one step, a moment after the last change. `rules` is pure.
"""

import asyncio
from collections.abc import Iterable, Iterator

from tests.kube.node.client import Json, Mirror

SETTLE_S = 0.02
SERVICE_NAME = "kubernetes.io/service-name"


class ServiceAddresses:
    """Keeps the rules as the collections of Services and EndpointSlices want them; `applied`: they are there."""

    def __init__(self, services: Mirror, slices: Mirror) -> None:
        self._services = services
        self._slices = slices
        self._changed = asyncio.Event()
        self.applied = asyncio.Event()
        for mirror in (services, slices):
            mirror.listeners.append(lambda _key, _item: self._changed.set())

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
            self._changed.clear()
            text = rules(self._services.objects.values(), self._slices.objects.values())
            process = await asyncio.create_subprocess_exec("iptables-restore", stdin=asyncio.subprocess.PIPE)
            await process.communicate(text.encode())
            if process.returncode != 0:
                raise RuntimeError(f"iptables-restore does not take these rules:\n{text}")
            if self._services.listed and self._slices.listed:
                self.applied.set()


def rules(services: Iterable[Json], slices: Iterable[Json]) -> str:
    """The whole nat table, for iptables-restore."""
    slices = list(slices)
    chains: list[str] = []
    lines: list[str] = []
    for service in services:
        address = service["spec"].get("clusterIP")
        if not address or address == "None" or ":" in address:
            continue
        own = [each for each in slices if _belongs(each, service)]
        for port in service["spec"].get("ports", []):
            pods = sorted(set(_places(own, port)))
            if not pods:
                continue  # nobody has a route to it: refused at once
            chain = f"SERVICE-{len(chains)}"
            chains.append(f":{chain} -")
            protocol = port["protocol"].lower()
            lines.append(f"-A SERVICES -d {address}/32 -p {protocol} --dport {port['port']} -j {chain}")
            for left, pod in zip(range(len(pods), 0, -1), pods, strict=True):
                share = f"-m statistic --mode random --probability {1 / left:.8f} " if left > 1 else ""
                lines.append(f"-A {chain} -p {protocol} {share}-j DNAT --to-destination {pod}")
    hooks = [f"-A {hook} -j SERVICES" for hook in ("PREROUTING", "OUTPUT")]
    # A pod that reaches itself through a Service would drop packets that come in from its own address.
    itself = [f"-A POSTROUTING -s {ip} -d {ip} -j MASQUERADE" for ip in sorted(set(_addresses(slices)))]
    return "\n".join(["*nat", ":SERVICES -", *chains, *hooks, *lines, *itself, "COMMIT", ""])


def ready_addresses(slices: Iterable[Json]) -> list[str]:
    """Of the ready pods; if none is ready, of those that serve while they terminate."""
    endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or []]
    ready = [each for each in endpoints if each["conditions"].get("ready", True)]
    usable = ready or [each for each in endpoints if each["conditions"].get("serving")]
    return [each["addresses"][0] for each in usable]


def _belongs(item: Json, service: Json) -> bool:
    metadata, of = item["metadata"], service["metadata"]
    named = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return bool(item["addressType"] == "IPv4" and (metadata["namespace"], named) == (of["namespace"], of["name"]))


def _places(slices: list[Json], port: Json) -> Iterator[str]:
    usable = set(ready_addresses(slices))
    for each in slices:
        for target in each.get("ports") or []:
            if (target.get("name") or "") == (port.get("name") or "") and target["protocol"] == port["protocol"]:
                for endpoint in each.get("endpoints") or []:
                    if endpoint["addresses"][0] in usable:
                        yield f"{endpoint['addresses'][0]}:{target['port']}"


def _addresses(slices: list[Json]) -> Iterator[str]:
    return (endpoint["addresses"][0] for each in slices for endpoint in each.get("endpoints") or [])
