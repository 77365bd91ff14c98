"""The controller's endpoint service over a catalog that changes at a fixed rate.

Changes come as the API server's JSON and go the way of a watch event: read, put into the catalog. They begin at
SIGUSR1. Standard output: the port, then, when the last change was made, the times of all changes as a JSON list.
"""

import argparse
import asyncio
import json
import signal
import time
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from injector.endpoints.peers import PeerLimits
from injector.endpoints.server import EndpointServer
from injector.endpoints.stream import Limits
from proxy.address import SocketAddress
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.records import read_service, read_slice

PORT = 8080
STRIDE = 37
"""Between the services of two changes, so that those that one sidecar wants do not change one after the other."""


def mark() -> str:
    """The time, as a uid."""
    return f"at-{time.monotonic_ns() // 1000:016d}"


class Cluster:
    """Services s0, s1, ... with one slice each."""

    def __init__(self, services: int, endpoints: int) -> None:
        self.catalog = Catalog()
        self._slices = [_slice(number, endpoints) for number in range(services)]
        for number, item in enumerate(self._slices):
            service = read_service(_service(number))
            assert service is not None
            self.catalog.put_service(service)
            self._put(item)
        self.catalog.set_complete()

    def change(self, service: int, endpoint: int) -> str:
        """Another pod is behind an address; returns its mark."""
        item = self._slices[service]
        target = item["endpoints"][endpoint % len(item["endpoints"])]["targetRef"]
        target["uid"] = mark()
        self._put(item)
        return str(target["uid"])

    def _put(self, item: Any) -> None:
        read = read_slice(json.loads(json.dumps(item)))
        assert read is not None
        self.catalog.put_slice(read)


def _service(number: int) -> dict[str, Any]:
    ip = f"10.96.{number // 250}.{number % 250}"
    return {
        "metadata": {"name": f"s{number}", "namespace": "bench"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "grpc", "port": PORT}]},
    }


def _slice(number: int, endpoints: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"s{number}-abcde",
            "namespace": "bench",
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": PORT, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.{1 + number // 250}.{number % 250}.{index}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"s{number}-7d9c5b8f6d-{index:05d}", "uid": mark()},
                "zone": f"zone-{index % 3}",
            }
            for index in range(endpoints)
        ],
    }


async def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("services", "endpoints", "changed-services", "changes"):
        options.add_argument(f"--{name}", type=int, required=True)
    options.add_argument("--per-s", type=float, required=True)
    given = options.parse_args()
    loop, begin, end = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, begin.set)
    loop.add_signal_handler(signal.SIGTERM, end.set)
    cluster = Cluster(given.services, given.endpoints)
    # All sidecars come from one address here, and in a cluster from those of their pods.
    limits = Limits(peer=PeerLimits(streams=100_000, names=10_000_000))
    server = EndpointServer(cluster.catalog, SocketAddress("127.0.0.1", 0), CollectorRegistry(), limits=limits)
    await server.start()
    print(server.port, flush=True)
    await begin.wait()
    marks, next_s = [], loop.time()
    for number in range(given.changes):
        service = number * STRIDE % given.changed_services
        marks.append(cluster.change(service, number // given.changed_services))
        next_s += 1 / given.per_s
        await asyncio.sleep(next_s - loop.time())
    print(json.dumps(marks), flush=True)
    await end.wait()
    await server.stop(1.0)


if __name__ == "__main__":
    uvloop.run(main())
