"""The cluster without containers: what its pods can rely on."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.api import Json
from tests.kube.nodes import READY_S, NodeCluster, is_ready, node_cluster
from tests.kube.programs import Programs
from tests.netns.namespace import PREFIX, run_here
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]


@pytest.fixture
def space(nodes: NodeCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace named like the test."""
    name = request.node.name.replace("_", "-")[:50].strip("-")
    nodes.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    nodes.admin.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default")
    yield name
    nodes.admin.delete(f"/api/v1/namespaces/{name}")


def pod(name: str, *code: str, **spec: object) -> Json:
    """A pod that runs Python code."""
    container = {"name": "main", "image": "meshctl-demo", "args": ["-c", "\n".join(code)]}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def run(nodes: NodeCluster, space: str, item: Json) -> Json:
    """Creates a pod and returns it when it has ended."""
    path = f"/api/v1/namespaces/{space}/pods"
    nodes.admin.create(path, item)
    return wait_until(lambda: ended(nodes.admin.get(f"{path}/{item['metadata']['name']}")), "its end", READY_S, 0.05)


def ended(item: Json) -> Json:
    return item if item["status"].get("phase") in ("Succeeded", "Failed") else {}


def test_a_pod_runs_as_its_user_and_sees_only_its_own_files(nodes: NodeCluster, space: str, tmp_path: Path) -> None:
    code = (
        "import os, socket, pathlib",
        f"print(os.getuid(), pathlib.Path('/tmp').is_dir(), pathlib.Path({str(tmp_path)!r}).exists())",
        "print(socket.gethostbyname('kubernetes.default'))",
        "print(pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount/namespace').read_text())",
        "try: pathlib.Path('/usr/written').touch()",
        "except OSError as error: print(error.strerror)",
    )
    done = run(nodes, space, pod("curious", *code, restartPolicy="Never", securityContext={"runAsUser": 4711}))
    assert done["status"]["phase"] == "Succeeded"
    assert nodes.log(done, "main").splitlines() == ["4711 True False", "10.96.0.1", space, "Read-only file system"]


def test_a_pod_asks_the_api_server_with_its_own_token(nodes: NodeCluster, space: str) -> None:
    code = (
        "import os, ssl, urllib.request, pathlib",
        "files = pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount')",
        "tls = ssl.create_default_context(cafile=str(files / 'ca.crt'))",
        'url = f\'https://{os.environ["KUBERNETES_SERVICE_HOST"]}:{os.environ["KUBERNETES_SERVICE_PORT"]}/api\'',
        "headers = {'Authorization': 'Bearer ' + (files / 'token').read_text()}",
        "print(urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=tls).status)",
    )
    done = run(nodes, space, pod("client", *code, restartPolicy="Never"))
    assert nodes.log(done, "main").split() == ["200"]


def test_containers_start_in_order_and_sidecars_end_last(nodes: NodeCluster, space: str) -> None:
    waits = "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(print('ends', time.time())))\n"
    waits += "print('begins', time.time())\npathlib.Path('/tmp/begun').touch()\nwhile True: time.sleep(0.05)"
    # A sidecar has started when its probe says so; without one, when there is a process, which may be slow to begin.
    begun = {"exec": {"command": ["test", "-e", "/tmp/begun"]}, "periodSeconds": 1, "failureThreshold": 60}

    def container(name: str, code: str, **rest: object) -> Json:
        return {"name": name, "image": "meshctl-demo", "args": ["-c", code], **rest}

    spec = {
        "initContainers": [
            container("first", "import time; time.sleep(0.3); print('ends', time.time())"),
            container("side", f"import time; time.sleep(0.3)\n{waits}", restartPolicy="Always", startupProbe=begun),
        ],
        "containers": [container("main", waits)],
    }
    path = f"/api/v1/namespaces/{space}/pods"
    made = nodes.admin.create(path, {"metadata": {"name": "ordered"}, "spec": spec})
    wait_until(lambda: is_ready(nodes.admin.get(f"{path}/ordered")), "a ready pod", READY_S)
    wait_until(lambda: "begins" in nodes.log(made, "main"), "its code", READY_S)
    nodes.kubectl("--namespace", space, "delete", "pod", "ordered", "--timeout=60s")

    def times(name: str) -> dict[str, float]:
        return {word: float(at) for word, at in (line.split() for line in nodes.log(made, name).splitlines())}

    first, side, main = times("first"), times("side"), times("main")
    assert first["ends"] < side["begins"] < main["begins"] < main["ends"] < side["ends"]


def test_a_service_leads_to_its_ready_pods(nodes: NodeCluster, space: str) -> None:
    nodes.kubectl(
        "--namespace", space, "create", "deployment", "web", "--image=meshctl-demo", "--replicas=3", "--port=8080",
        "--", "/opt/demo/bin/python", "-c", SERVER,
    )  # fmt: skip
    nodes.kubectl("--namespace", space, "expose", "deployment", "web", "--port=80", "--target-port=8080")
    pods = nodes.wait_ready(space, 3, {"app": "web"})
    ask = f"urllib.request.urlopen('http://web.{space}').read().decode()"
    code = (
        "import time, urllib.request",
        "heard = set()",
        "while len(heard) < 3:",  # the node hears of ready pods a moment after the API server
        f"  try: heard.add({ask})",
        "  except OSError: time.sleep(0.1)",
        f"for _ in range(40): print({ask})",
    )
    done = run(nodes, space, pod("asker", *code, restartPolicy="Never"))
    assert set(nodes.log(done, "main").split()) == {each["metadata"]["name"] for each in pods}


SERVER = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["HOSTNAME"].encode())
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""


def test_a_container_that_ends_is_started_again(nodes: NodeCluster, space: str) -> None:
    path = f"/api/v1/namespaces/{space}/pods"
    nodes.admin.create(path, pod("restless", "raise SystemExit(3)"))

    def restarted() -> list[Json]:
        known = nodes.admin.get(f"{path}/restless")["status"].get("containerStatuses", [])
        return [each for each in known if each["restartCount"] >= 2]

    (status,) = wait_until(restarted, "restarts", READY_S)
    assert status["lastState"]["terminated"]["exitCode"] == 3


@pytest.mark.usefixtures("namespaces")
def test_nothing_is_left_of_a_cluster_after_a_failure(kube_programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), node_cluster(tmp_path, kube_programs) as cluster:
        cluster.admin.wait_for("/api/v1/namespaces/default/serviceaccounts/default")
        lasting = pod("lasting", "import time; time.sleep(100)")
        cluster.admin.create("/api/v1/namespaces/default/pods", lasting)
        cluster.wait_ready("default", 1)
        kubelet = cluster.kubelet
        raise KeyboardInterrupt
    assert kubelet.exit_status == -signal.SIGKILL
    for name in (f"{PREFIX}-{kubelet.pid}-", cluster.node.name):
        # Another run, beside this one, may be about to remove it just then.
        wait_until(lambda name=name: name not in run_here(["ip", "netns", "list"]), f"the end of {name}")
