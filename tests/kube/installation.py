"""An installation as users have it, in a cluster of its own: applied with kubectl, its controller running, one pod of
an application with a real sidecar.

All is in one network namespace, where the control plane, the controller's pod and the application's pod each have an
address. There is no kubelet: here is what it would do, bind pods to a node, start what is in them, and report.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.kube.api import Json
from tests.kube.cluster import Cluster
from tests.kube.objects import NODE
from tests.kube.programs import Programs
from tests.netns.namespace import Namespace
from tests.support.process import ROOT, Process
from tests.support.waiting import wait_until

API_IP, CONTROLLER_IP, APPLICATION_IP = "10.77.0.1", "10.77.0.2", "10.77.1.1"
OWN, SHOP = "meshctl", "shop"
NAME = "meshctl-controller"
CERTIFICATE = "meshctl-webhook-tls"
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/meshctl-injector"
IMAGE = "meshctl:tests"
START_S = 30

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
    """Runs from the moment it is made until `close`."""

    def __init__(self, directory: Path, programs: Programs) -> None:
        self._directory = directory
        self._network = Namespace("installation")
        self._controller: Process | None = None
        self._sidecar: Process | None = None
        self._network.ip(*(f"address add {ip}/32 dev lo" for ip in (API_IP, CONTROLLER_IP, APPLICATION_IP)))
        self.cluster = Cluster(directory, programs, self._network.place(), API_IP)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.cluster.start()
        self.api = self.cluster.admin
        self.api.create("/api/v1/nodes", {"metadata": {"name": NODE}})
        manifests = self.meshctl("install", "--image", IMAGE).stdout
        self.cluster.kubectl("apply", "--filename=-", text=manifests)
        self.controller_pod = self._bound(OWN, "app.kubernetes.io/component=controller")
        self.start_controller()
        self.make_namespace(SHOP, {"meshctl.io/inject": "enabled"})
        wait_until(lambda: self.is_injected(SHOP), "a new pod gets a sidecar", START_S)
        self.api.create(f"/apis/apps/v1/namespaces/{SHOP}/deployments", APPLICATION)
        self.application_pod = self._bound(SHOP, "app=web")
        self._start_sidecar()
        self.set_ready(SHOP, self.application_pod, APPLICATION_IP)
        self.wait_until_connected()

    # ---- what a test does with it ----

    def meshctl(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, beside the API server."""
        environment = ("env", f"KUBECONFIG={kubeconfig or self.cluster.kubeconfig}")
        done = subprocess.run(
            [*self._network.place().prefix, *environment, sys.executable, "-m", "meshctl", *arguments],
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

    def wait_until_connected(self) -> None:
        """Until the sidecar is in touch with the controller."""
        page = f"/api/v1/namespaces/{SHOP}/pods/{self.application_pod}:4191/proxy/metrics"
        assert self._sidecar is not None
        self._sidecar.wait_until(
            lambda: "meshctl_discovery_connected 1" in self.api.text("GET", page)[1], "connected", START_S
        )

    # ---- its controller ----

    def start_controller(self) -> None:
        """Runs what the controller's pod has in it; returns when it is ready, and its pod says so."""
        settings = self.api.get(f"/api/v1/namespaces/{OWN}/configmaps/{NAME}")["data"]["controller.yaml"]
        config = yaml.safe_load(settings)
        access = self.cluster.account(OWN, NAME).access
        config["kubernetes"] = {"kubeconfig": str(access.kubeconfig(self._directory / "controller.kubeconfig"))}
        for server in ("webhook", "endpoints", "admin"):
            config[server]["address"] = config[server]["address"].replace("[::]", CONTROLLER_IP)
        file = self._directory / "controller.yaml"
        file.write_text(yaml.safe_dump(config))
        self._controller = Process(
            (sys.executable, "-m", "injector", "--config", str(file)),
            "the controller",
            {"MESHCTL_NAMESPACE": OWN, "MESHCTL_POD_NAME": self.controller_pod},
            self._network.place(),
        )
        page = f"/api/v1/namespaces/{OWN}/pods/{self.controller_pod}:9990/proxy/ready"
        # The API server asks a pod for a page where its status says that it is; it is ready only then.
        self.set_status(OWN, self.controller_pod, phase="Running", podIP=CONTROLLER_IP, podIPs=[{"ip": CONTROLLER_IP}])
        self._controller.wait_until(lambda: self.api.text("GET", page)[0] == 200, "ready", START_S)
        self.set_ready(OWN, self.controller_pod, CONTROLLER_IP)
        deployment = f"/apis/apps/v1/namespaces/{OWN}/deployments/{NAME}"
        wait_until(lambda: self.api.get(deployment)["status"].get("readyReplicas") == 1, "one replica ready", START_S)

    def kill_controller(self) -> None:
        """Its process is gone, and nobody has told the API server yet."""
        assert self._controller is not None
        self._controller.close()

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
        self._sidecar = Process(command, "the sidecar", {**given, **own}, self._network.place())
        self._sidecar.wait_for_port(f"{APPLICATION_IP}:4191", START_S)

    def close(self) -> None:
        for process in (self._sidecar, self._controller):
            if process is not None:
                process.close()
        self.cluster.close()
        self._network.close()


def _status(container: Mapping[str, Any], status: Mapping[str, Any]) -> Json:
    return {"name": container["name"], "image": container["image"], "imageID": "", **status}
