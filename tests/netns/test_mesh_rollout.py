"""A rolling restart of meshed pods under load, as Kubernetes does it, costs no call.

For each old pod a new one is started and becomes an endpoint when it serves. Then the old one's application and its
sidecar get SIGTERM at once, and a while later (the news takes its way over the API server and the controller) the
clients' sidecars hear that it is no endpoint any more. MESHCTL_ROLLOUT_S is how long the load goes on, in seconds; a
longer one has more restarts.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.netns.mesh import MeshedPod, cluster_of, meshed
from tests.netns.network import Network, Service
from tests.support.process import Process

PORT = 50051
CALLS_PER_S = 1000 if "MESHCTL_ROLLOUT_S" in os.environ else 500
LOAD_S = float(os.environ.get("MESHCTL_ROLLOUT_S", "8"))
NEWS_S = (0.0, 0.3, 1.0)  # when the clients' sidecars hear of it, for each pod in turn
AFTER_S = 0.5
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Load:
    """Calls that go on."""

    process: Process

    def state(self) -> dict[str, Any]:
        """What became of them so far; nothing before the first is told of."""
        lines = [line for line in self.process.stdout().splitlines(keepends=True) if line.endswith("\n")]
        return dict(json.loads(lines[-1])) if lines else {}

    def wait_for_answers(self, replica: str) -> None:
        self.process.wait_until(
            lambda: replica in self.state().get("answered", {}), f"answers of {replica}", PATIENCE_S
        )


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of the service: what runs in it."""

    meshed: MeshedPod
    app: Process

    @property
    def name(self) -> str:
        return self.meshed.pod.name

    @property
    def processes(self) -> tuple[Process, Process]:
        return self.app, self.meshed.sidecar

    @property
    def address(self) -> str:
        return f"{self.meshed.pod.ipv4}:{PORT}"

    def terminate(self) -> None:
        for process in self.processes:
            process.terminate()

    def assert_gone(self) -> None:
        assert [process.wait(PATIENCE_S) for process in self.processes] == [0, 0]


class Rollout:
    """A service, its replicas and a client pod, whose sidecar is told who they are."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.replicas = [self.start(f"old{number}") for number in range(3)]
        self.client = meshed(network, "client", clusters=[], routes=[])
        self.service: Service = network.service(PORT, [replica.meshed.pod for replica in self.replicas])
        cluster = cluster_of(self.service)
        self.client.config["clusters"] = [{"name": cluster, "protocol": "detect", "static": {"endpoints": []}}]
        match = {"destination": f"{self.service.ipv4}:{PORT}"}
        self.client.config["routes"] = [{"match": match, "cluster": cluster}]
        self.tell()

    def start(self, name: str) -> Replica:
        pod = meshed(self.network, name, shutdown_grace_s=15)
        app = pod.pod.start_python("tests.support.graceful_server", f"127.0.0.1:{PORT}", name)
        pod.pod.wait_for_port(PORT)
        return Replica(pod, app)

    def tell(self) -> None:
        """Tells the client's sidecar, and the node, who the replicas are."""
        self.client.set_endpoints(cluster_of(self.service), [replica.address for replica in self.replicas])
        self.network.set_pods(self.service, [replica.meshed.pod for replica in self.replicas])

    def replace(self, number: int, news_s: float, load: Load) -> Replica:
        """Replaces a replica by a new one, which gets calls; returns the old one, which is going."""
        new = self.start(f"new{number}")
        self.replicas.append(new)
        self.tell()
        load.wait_for_answers(new.name)
        old = self.replicas.pop(0)
        old.terminate()
        time.sleep(news_s)
        self.tell()
        time.sleep(AFTER_S)
        return old

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Calls go on inside; afterwards, all of them have ended."""
        target = f"{self.service.ipv4}:{PORT}"
        load = Load(self.client.pod.start_python("tests.netns.grpc_load", target, str(CALLS_PER_S)))
        for replica in self.replicas:
            load.wait_for_answers(replica.name)
        yield load
        load.process.stop(PATIENCE_S)


@pytest.mark.slow
@pytest.mark.timeout(300 + 4 * LOAD_S)
def test_a_rolling_restart_of_pods_with_their_sidecars_costs_no_call(network: Network) -> None:
    rollout = Rollout(network)
    going = []
    begun_s, restarts = time.monotonic(), 0
    with rollout.load() as load:
        while restarts < 3 or time.monotonic() - begun_s < LOAD_S:
            going.append(rollout.replace(restarts, NEWS_S[restarts % len(NEWS_S)], load))
            restarts += 1
    became = load.state()
    print(f"{became['started']} calls, {restarts} pods replaced; the slowest took {became['slowest_s']:.3f} s")
    assert became["failed"] == []
    assert sum(became["answered"].values()) == became["started"]
    assert set(became["answered"]) >= {replica.name for replica in [*going, *rollout.replicas]}
    for replica in rollout.replicas:
        replica.terminate()
    for replica in [*going, *rollout.replicas]:
        replica.assert_gone()
