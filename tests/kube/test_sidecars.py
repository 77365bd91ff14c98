"""Sidecars of both kinds as the cluster runs them: when they start, when they end, and how much memory they need."""

from collections.abc import Iterator

import pytest

from tests.kube.api import Json
from tests.kube.demo import ADMIN_PORT, containers, install
from tests.kube.nodes import NodeCluster
from tests.support.memory import SANITIZER_BYTES
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]

SPACE = "sidecars"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
JOBS = f"/apis/batch/v1/namespaces/{SPACE}/jobs"
ASK = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:4191/ready').status)"
MOST_BYTES = 44 * 10**6 + SANITIZER_BYTES  # measured: 40 MB
LATE_S = 3  # of an application that needs time until it listens
SHUT_DOWN = "urllib.request.urlopen('http://127.0.0.1:4191/shutdown', data=b'')"


@pytest.fixture(scope="module")
def space(nodes: NodeCluster) -> Iterator[NodeCluster]:
    """A namespace whose pods are injected as they are made."""
    install(nodes)
    metadata = {"name": SPACE, "annotations": {"meshctl.io/inject": "enabled"}}
    nodes.admin.create("/api/v1/namespaces", {"metadata": metadata})
    nodes.admin.wait_for(f"/api/v1/namespaces/{SPACE}/serviceaccounts/default")
    yield nodes
    nodes.admin.delete(f"/api/v1/namespaces/{SPACE}")


def run_job(nodes: NodeCluster, name: str, code: str, annotations: dict[str, str]) -> Json:
    """Runs code as a Job, and returns its pod when the Job is complete."""
    container = {"name": "main", "image": "meshctl-demo", "args": ["-c", code]}
    template = {"metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    nodes.admin.create(JOBS, {"metadata": {"name": name}, "spec": {"template": template}})
    wait_until(lambda: nodes.admin.get(f"{JOBS}/{name}")["status"].get("succeeded"), f"the end of {name}", 120, 0.1)
    (pod,) = nodes.pods(SPACE, {"job-name": name})
    return pod


def test_a_job_is_complete_though_it_has_a_native_sidecar(space: NodeCluster) -> None:
    pod = run_job(space, "native", ASK, {})
    assert "meshctl-proxy" in {each["name"] for each in pod["spec"]["initContainers"]}
    assert space.log(pod, "main").split() == ["200"], "the sidecar was not ready before the application started"
    (ended,) = [each for each in pod["status"]["initContainerStatuses"] if each["name"] == "meshctl-proxy"]
    assert ended["state"]["terminated"]["exitCode"] == 0


def test_an_ordinary_sidecar_is_ready_first_and_ends_when_the_application_says_so(space: NodeCluster) -> None:
    annotations = {"config.meshctl.io/native-sidecar": "disabled"}
    pod = run_job(space, "ordinary", f"{ASK}; {SHUT_DOWN}", annotations)
    assert "meshctl-proxy" in {each["name"] for each in pod["spec"]["containers"]}
    assert space.log(pod, "main").split() == ["200"]
    assert pod["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("native", ["enabled", "disabled"])
def test_a_pod_whose_probe_connects_is_ready_when_its_application_listens(space: NodeCluster, native: str) -> None:
    code = (
        "import socket, time",
        f"time.sleep({LATE_S})",
        "print('listens', flush=True)",
        "server = socket.create_server(('', 8080), backlog=100)",
        "while True: server.accept()[0].close()",
    )
    container = {
        "name": "main",
        "image": "meshctl-demo",
        "args": ["-c", "\n".join(code)],
        "ports": [{"name": "late", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "late"}, "periodSeconds": 1},
    }
    labels = {"app": f"late-{native}"}
    annotations = {"config.meshctl.io/native-sidecar": native}
    metadata = {"name": f"late-{native}", "labels": labels, "annotations": annotations}
    space.admin.create(PODS, {"metadata": metadata, "spec": {"containers": [container]}})
    (pod,) = space.wait_ready(SPACE, 1, labels)
    assert space.log(pod, "main").split() == ["listens"], "it was ready before its application listened"
    (main,) = [each for each in pod["spec"]["containers"] if each["name"] == "main"]
    assert main["readinessProbe"]["httpGet"]["path"] == "/probe/tcp/8080"
    status, _ = space.admin.text("GET", f"{PODS}/late-{native}:{ADMIN_PORT}/proxy/probe/tcp/22")
    assert status == 404


def test_a_sidecar_that_asks_the_controller_needs_little_memory(space: NodeCluster) -> None:
    """Of a pod that has called something: then all is loaded that controller mode needs."""
    code = "import urllib.request, time\nwhile True: urllib.request.urlopen('http://called').read(); time.sleep(0.1)"
    server = ["-m", "http.server", "8080", "--directory", "/opt/demo/app"]
    labels = {"app": "called"}
    ports = [{"port": 80, "targetPort": 8080, "appProtocol": "http"}]
    space.admin.create(
        f"/api/v1/namespaces/{SPACE}/services",
        {"metadata": {"name": "called"}, "spec": {"selector": labels, "ports": ports}},
    )
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    for name, arguments, rest in (("called", server, {"readinessProbe": probe}), ("caller", ["-c", code], {})):
        container = {"name": "main", "image": "meshctl-demo", "args": arguments, **rest}
        metadata = {"name": name, "labels": {"app": name}}
        space.admin.create(PODS, {"metadata": metadata, "spec": {"containers": [container]}})
        (pod,) = space.wait_ready(SPACE, 1, {"app": name})
        assert containers(pod) == {"meshctl-init", "meshctl-proxy", "main"}

    def calls() -> float:
        return space.metric(pod, ADMIN_PORT, "meshctl_request_total", pod="called")

    wait_until(lambda: calls() > 10, "calls at the pod of the Service", 60, 0.1)
    held_bytes = space.metric(pod, ADMIN_PORT, "process_resident_memory_bytes")
    print(f"a sidecar in controller mode: {held_bytes / 1e6:.1f} MB")
    assert held_bytes < MOST_BYTES
