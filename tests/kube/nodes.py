"""A whole cluster without containers: a control plane, and a node whose pods are network namespaces.

All of it is in namespaces of its own; the machine's network is not touched. Tests reach it through `entered`.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.kube.api import Api, Json
from tests.kube.cluster import Cluster
from tests.kube.node.network import NODE_IP, node_namespace
from tests.kube.programs import Programs
from tests.netns.namespace import Namespace, sweep
from tests.support.process import Process
from tests.support.waiting import wait_until

READY_S = 120
LOG_TAIL_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class NodeCluster:
    """`control` is the control plane, `node` the namespace it and the kubelet are in, `kubelet` the node's process."""

    control: Cluster
    node: Namespace
    kubelet: Process
    directory: Path

    @property
    def admin(self) -> Api:
        return self.control.admin

    def kubectl(self, *arguments: str, text: str = "") -> str:
        return self.control.kubectl(*arguments, text=text)

    def pods(self, namespace: str, labels: Mapping[str, str] = {}) -> list[Json]:
        """Those that are not about to go."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        query = f"?labelSelector={selector}" if selector else ""
        items = self.admin.get(f"/api/v1/namespaces/{namespace}/pods{query}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def wait_ready(self, namespace: str, count: int, labels: Mapping[str, str] = {}) -> list[Json]:
        """The pods with these labels, once all `count` of them are ready."""

        def ready() -> list[Json]:
            pods = self.pods(namespace, labels)
            return pods if len(pods) == count and all(map(is_ready, pods)) else []

        try:
            return wait_until(ready, f"{count} ready pods {dict(labels)}", READY_S, interval_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.described(namespace)}") from None

    def log(self, pod: Json, container: str) -> str:
        """What a container of a pod has written."""
        uid = str(pod["metadata"]["uid"])
        return (self.directory / "pods" / uid / f"{container}.log").read_text()

    def described(self, namespace: str) -> str:
        """For people: the pods of a namespace, and the end of what their containers wrote."""
        lines = [self.kubectl("--namespace", namespace, "get", "pods", "--output", "wide")]
        for pod in self.admin.get(f"/api/v1/namespaces/{namespace}/pods")["items"]:
            directory = self.directory / "pods" / pod["metadata"]["uid"]
            name = pod["metadata"]["name"]
            logs = sorted(directory.glob("*.log"))
            lines += [f"--- {name} {log.stem}\n{log.read_text()[-LOG_TAIL_CHARACTERS:]}" for log in logs]
        return "\n".join(lines)

    def metric(self, pod: Json, port: int, name: str, /, **labels: str) -> float:
        """The sum of the samples called `name` on a pod's metrics page that have all of `labels`; 0 if none has."""
        families = text_string_to_metric_families(self.get(pod, port, "/metrics"))
        found = [sample for family in families for sample in family.samples if sample.name == name]
        assert found or labels, f"no metric {name}"
        return sum(sample.value for sample in found if labels.items() <= sample.labels.items())

    def get(self, pod: Json, port: int, path: str) -> str:
        """The body of an answer of a pod, through the API server (`pods/NAME:PORT/proxy`)."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        status, text = self.admin.text("GET", f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}")
        assert status == 200, f"{path} of {name} answered {status}: {text}"
        return text


@contextmanager
def node_cluster(directory: Path, programs: Programs) -> Iterator[NodeCluster]:
    """A cluster with one node that is ready. Leaving the block ends all that runs in it."""
    with node_namespace() as node:
        (directory / "control").mkdir()
        with Cluster(directory / "control", programs, node.place(), NODE_IP) as control:
            command = (sys.executable, "-m", "tests.kube.node", node.name)
            files = (str(control.kubeconfig), str(directory / "pods"))
            try:
                with Process((*command, *files), "the node") as kubelet:
                    control.kubectl("wait", "--for=create", "node/node", "--timeout=60s")
                    control.kubectl("wait", "--for=condition=Ready", "node/node", "--timeout=60s")
                    yield NodeCluster(control, node, kubelet, directory)
            finally:
                sweep()  # it removes its pods itself, unless it was killed after a failure


def is_ready(pod: Json) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"
