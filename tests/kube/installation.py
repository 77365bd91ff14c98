"""An installation as users have it, in a cluster of its own: applied with kubectl, its controller running, one pod of
an application with a real sidecar.

All is in one network namespace, where the control plane, the controller's pod and the application's pod each have an
address. There is no kubelet: here is what it would do, bind pods to a node, start what is in them, and report.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kube.api import Api, Json
from tests.kube.cluster import Cluster
from tests.kube.installed import NAMESPACE as OWN
from tests.kube.installed import ControllerPod, install, scheduled_pods
from tests.kube.objects import NODE
from tests.kube.programs import Programs
from tests.netns.namespace import Namespace
from tests.support.process import ROOT, Place, Process
from tests.support.waiting import wait_until

API_IP, CONTROLLER_IP, APPLICATION_IP, OTHER_IP = "10.77.0.1", "10.77.0.2", "10.77.1.1", "10.77.1.2"
ADDRESSES = (API_IP, CONTROLLER_IP, APPLICATION_IP, OTHER_IP)
SHOP = "shop"
IMAGE = "meshctl:tests"
START_S = 60

APPLICATION = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web", "ports": [{"containerPort": 8080}]}]},
        },
    },
}


class Installation:
    """Runs from the moment it is made. A context manager; leaving it kills all of it."""

    def __init__(self, directory: Path, programs: Programs) -> None:
        self._directory = directory
        self._network = Namespace("installation")
        self._controllers: list[ControllerPod] = []
        self._sidecar: Process | None = None
        self._network.ip(*(f"address add {ip}/32 dev lo" for ip in ADDRESSES))
        self.cluster = Cluster(directory, programs, self.place, API_IP)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.cluster.start()
        self.api.create("/api/v1/nodes", {"metadata": {"name": NODE}})
        install(self.cluster, "--image", IMAGE)
        (name,) = scheduled_pods(self.api, 1, wait_until)
        self._controller = ControllerPod(self.cluster, name, CONTROLLER_IP, self._directory)
        self._controllers.append(self._controller)
        self._controller.wait_until_ready()
        self.set_ready(OWN, name, CONTROLLER_IP)
        self.make_namespace(SHOP, {"meshctl.io/inject": "enabled"})
        wait_until(lambda: self.is_injected(SHOP), "a new pod gets a sidecar", START_S)
        self.api.create(f"/apis/apps/v1/namespaces/{SHOP}/deployments", APPLICATION)
        self.application_pod = self._bound(SHOP, "app=web")
        self._start_sidecar()
        self.set_ready(SHOP, self.application_pod, APPLICATION_IP)
        self.wait_until_connected()

    # ---- what a test does with it ----

    @property
    def api(self) -> Api:
        """As its administrator."""
        return self.cluster.admin

    @property
    def place(self) -> Place:
        """Where all of it is."""
        return self._network.place()

    def meshctl_command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        """What runs a command beside the API server."""
        environment = ("env", f"KUBECONFIG={kubeconfig or self.cluster.kubeconfig}")
        return [*self.place.prefix, *environment, sys.executable, "-m", "meshctl", *arguments]

    def meshctl(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, beside the API server."""
        done = subprocess.run(
            self.meshctl_command(*arguments, kubeconfig=kubeconfig),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def check(self, *arguments: str) -> tuple[int, dict[str, Json]]:
        """The exit code of `meshctl check`, and what it says, by the checks' names."""
        done = self.meshctl("check", "--output=json", *arguments)
        assert done.stdout, done.stderr
        return done.returncode, {each["name"]: each for each in json.loads(done.stdout)["checks"]}

    def make_namespace(self, name: str, annotations: Mapping[str, str] | None = None, **labels: str) -> None:
        """A namespace that pods can be created in."""
        metadata = {"name": name, "annotations": dict(annotations or {}), "labels": labels}
        self.api.create("/api/v1/namespaces", {"metadata": metadata})
        self.api.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default")

    def is_injected(self, namespace: str) -> bool:
        """Whether a pod that is created now gets a sidecar."""
        spec = {"containers": [{"name": "a", "image": "a"}]}
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        return "initContainers" in self.api.create(path, {"metadata": {"name": "trial"}, "spec": spec})["spec"]

    def set_status(self, namespace: str, pod: str, **status: Any) -> None:
        """Says how a pod is, as its kubelet would."""
        self.api.patch(f"/api/v1/namespaces/{namespace}/pods/{pod}/status", {"status": status})

    def set_ready(self, namespace: str, pod: str, ip: str) -> None:
        """A pod whose containers run, and whose init containers have done what they had to."""
        spec = self.api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")["spec"]
        running = {"ready": True, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        ended = {"ready": True, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}
        self.set_status(
            namespace,
            pod,
            phase="Running",
            podIP=ip,
            podIPs=[{"ip": ip}],
            conditions=[{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            initContainerStatuses=[
                _status(each, running if each.get("restartPolicy") == "Always" else ended)
                for each in spec.get("initContainers", ())
            ],
            containerStatuses=[_status(each, running) for each in spec["containers"]],
        )

    def run(self, command: Sequence[str], name: str) -> Process:
        """Runs something beside the pods, until whoever asked for it closes it."""
        return Process(command, name, place=self.place)

    def wait_until_connected(self) -> None:
        """Until the sidecar is in touch with the controller."""
        page = f"/api/v1/namespaces/{SHOP}/pods/{self.application_pod}:4191/proxy/metrics"
        assert self._sidecar is not None
        self._sidecar.wait_until(
            lambda: "meshctl_discovery_connected 1" in self.api.text("GET", page)[1], "connected", START_S
        )

    # ---- its controller ----

    @property
    def controller_pod(self) -> str:
        return self._controller.name

    def kill_controller(self) -> None:
        """Its process is gone, and nobody has told the API server yet."""
        self._controller.process.close()

    def restart_controller(self) -> None:
        """Returns when it is ready, and the API server calls it again."""
        self._controller.restart()
        self.set_ready(OWN, self.controller_pod, CONTROLLER_IP)
        wait_until(lambda: self.is_injected(SHOP), "a new pod gets a sidecar", START_S)

    # ---- within ----

    def _bound(self, namespace: str, selector: str) -> str:
        """The one pod there is by these labels, on the node now; its name."""
        path = f"/api/v1/namespaces/{namespace}/pods"

        def found() -> list[Json]:
            return list(self.api.get(f"{path}?labelSelector={selector}")["items"])

        name = str(wait_until(found, f"a pod {selector}", START_S)[0]["metadata"]["name"])
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": NODE}}
        self.api.create(f"{path}/{name}/binding", binding)
        return name

    def _start_sidecar(self) -> None:
        pod = self.api.get(f"/api/v1/namespaces/{SHOP}/pods/{self.application_pod}")
        container = next(each for each in pod["spec"]["initContainers"] if each["name"] == "meshctl-proxy")
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        # There is no DNS for the name of the controller's Service, and other pods are here, too.
        own = {
            "MESHCTL_DISCOVERY_CONTROLLER": f"{CONTROLLER_IP}:8086",
            "MESHCTL_ADMIN_ADDRESS": f"{APPLICATION_IP}:4191",
            "MESHCTL_DISCOVERY_POD": self.application_pod,
            "MESHCTL_DISCOVERY_NAMESPACE": SHOP,
        }
        command = (sys.executable, "-m", "proxy", "--config", str(ROOT / "deploy" / "sidecar.yaml"))
        self._sidecar = Process(command, "the sidecar", {**given, **own}, self.place)
        self._sidecar.wait_for_port(f"{APPLICATION_IP}:4191", START_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._sidecar is not None:
            self._sidecar.close()
        for controller in self._controllers:
            controller.process.close()
        self.cluster.close()
        self._network.close()


def _status(container: Mapping[str, Any], status: Mapping[str, Any]) -> Json:
    return {"name": container["name"], "image": container["image"], "imageID": "", **status}
