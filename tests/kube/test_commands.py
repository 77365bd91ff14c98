"""`meshctl endpoints`, `metrics` and `version` against a real installation: what controller and sidecars say."""

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proxy.version import VERSION
from tests.kube.installation import (
    API_IP,
    APPLICATION_IP,
    CONTROLLER_IP,
    IMAGE,
    OTHER_IP,
    SHOP,
    Installation,
)
from tests.kube.installed import ACCOUNT as NAME
from tests.kube.installed import NAMESPACE as OWN
from tests.support.process import ROOT

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]

SERVICE = f"{NAME}.{OWN}:8086"
LISTENER = f"{OTHER_IP}:8888"
SERVER = f"{APPLICATION_IP}:8080"


@pytest.fixture(scope="module")
def caller(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A pod whose sidecar has a cluster "voting", of a web server beside it. Its name."""
    directory = tmp_path_factory.mktemp("caller")
    config = {
        "admin": {"address": f"{OTHER_IP}:4191"},
        "listeners": [{"name": "outbound", "address": LISTENER, "protocol": "detect"}],
        "clusters": [{"name": "voting", "protocol": "detect", "static": {"endpoints": [{"address": SERVER}]}}],
        "routes": [{"cluster": "voting"}],
    }
    (directory / "proxy.yaml").write_text(yaml.safe_dump(config))
    host, port = SERVER.split(":")
    server = (sys.executable, "-m", "http.server", "--directory", str(directory), "--bind", host, port)
    with (
        installation.run(server, "a web server") as served,
        installation.run(
            (sys.executable, "-m", "proxy", "--config", str(directory / "proxy.yaml")), "sidecar"
        ) as proxy,
    ):
        served.wait_for_port(SERVER)
        proxy.wait_for_port(LISTENER)
        pods = f"/api/v1/namespaces/{SHOP}/pods"
        spec = {"containers": [{"name": "app", "image": "app"}], "nodeName": "node"}
        installation.api.create(pods, {"metadata": {"name": "caller"}, "spec": spec})
        installation.set_ready(SHOP, "caller", OTHER_IP)
        yield "caller"
        installation.api.delete(f"{pods}/caller", grace_s=0)
        served.kill()


def call(installation: Installation) -> None:
    host, port = LISTENER.split(":")
    with (
        installation.place.entered(),
        contextlib.closing(http.client.HTTPConnection(host, int(port), 10)) as connection,
    ):
        connection.request("GET", "/proxy.yaml")
        assert connection.getresponse().status == 200


# ---- endpoints ----


def test_the_controller_says_which_pods_a_service_has(installation: Installation) -> None:
    done = installation.meshctl("endpoints", SERVICE)
    assert (done.returncode, done.stderr) == (0, "")
    head, heads, line = done.stdout.splitlines()
    assert head == f"{OWN}/{NAME}: 1 endpoint, http2"
    assert heads.split() == ["ADDRESS", "PORT", "POD", "ZONE", "WEIGHT"]
    assert line.split() == [CONTROLLER_IP, "8086", installation.controller_pod, "-", "1"]


@pytest.mark.parametrize("options", [[f"{NAME}:8086", "-n", OWN], [f"{NAME}.{OWN}.svc.cluster.local:8086"]])
def test_a_name_is_that_of_the_callers_namespace(installation: Installation, options: list[str]) -> None:
    done = installation.meshctl("endpoints", *options, "-o", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["endpoints"][0]["address"] == CONTROLLER_IP


def test_what_the_controller_does_not_know_exits_with_1(installation: Installation) -> None:
    done = installation.meshctl("endpoints", "nobody.shop:80")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not know nobody.shop:80" in done.stderr
    assert "Hint: " in done.stderr


def test_a_controller_that_is_not_there_exits_with_1(installation: Installation) -> None:
    done = installation.meshctl("endpoints", SERVICE, "--controller-namespace", SHOP)
    assert done.returncode == 1
    assert "no ready controller pod in namespace shop" in done.stderr


def test_who_may_not_ask_exits_with_2(installation: Installation, tmp_path: Path) -> None:
    nobody = installation.cluster.account(SHOP).access.kubeconfig(tmp_path / "nobody")
    for command in (("endpoints", SERVICE), ("metrics", f"{SHOP}/a"), ("version", "--cluster")):
        done = installation.meshctl(*command, kubeconfig=nobody)
        assert done.returncode == 2
        assert "forbidden" in done.stderr
        assert "ask for that permission" in done.stderr


def test_a_sidecar_says_how_endpoints_do(installation: Installation, caller: str) -> None:
    call(installation)
    done = installation.meshctl("endpoints", "voting", "--pod", f"{SHOP}/{caller}")
    assert (done.returncode, done.stderr) == (0, "")
    head, heads, line = done.stdout.splitlines()
    assert head == "voting: 1 endpoint, http1, peak_ewma"
    assert "EWMA MS" in heads
    assert line.split()[:4] == [SERVER, "-", "1", "ready"]
    assert int(line.split()[-2]) >= 1
    everything = installation.meshctl("endpoints", "--pod", caller, "-n", SHOP, "-o", "json")
    assert [each["name"] for each in json.loads(everything.stdout).values()] == ["voting"]


def test_what_a_sidecar_does_not_know_exits_with_1(installation: Installation, caller: str) -> None:
    done = installation.meshctl("endpoints", "web:80", "--pod", f"{SHOP}/{caller}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "it knows voting" in done.stderr


# ---- metrics ----


def test_calls_are_counted_for_a_while(installation: Installation, caller: str) -> None:
    command = installation.meshctl_command("metrics", caller, "-n", SHOP, "--interval", "3", "-o", "json")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as counting:
        while counting.poll() is None:
            call(installation)
        assert counting.stdout is not None
        told = json.loads(counting.stdout.read())
    assert counting.returncode == 0
    (row,) = told["rows"]
    assert (row["direction"], row["cluster"], row["protocol"], row["endpoint"]) == (
        "outbound",
        "voting",
        "http1",
        SERVER,
    )
    assert row["per_s"] > 0
    assert row["success_percent"] == 100
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]


def test_without_calls_it_says_so(installation: Installation) -> None:
    done = installation.meshctl("metrics", f"{SHOP}/{installation.application_pod}", "--interval", "0.2")
    assert done.returncode == 0
    assert done.stdout.startswith("no calls within ")


def test_the_page_itself(installation: Installation) -> None:
    done = installation.meshctl("metrics", f"{SHOP}/{installation.application_pod}", "--raw")
    assert done.returncode == 0
    assert f'version="{VERSION}"' in done.stdout


@pytest.mark.parametrize(
    ("pod", "problem"),
    [(f"{SHOP}/nobody", "there is no pod nobody"), (f"{OWN}/CONTROLLER", "has no sidecar")],
)
def test_a_pod_without_a_sidecar_exits_with_1(installation: Installation, pod: str, problem: str) -> None:
    done = installation.meshctl("metrics", pod.replace("CONTROLLER", installation.controller_pod))
    assert (done.returncode, done.stdout) == (1, "")
    assert problem in done.stderr


def test_a_sidecar_that_does_not_answer_exits_with_1(installation: Installation) -> None:
    installation.set_status(SHOP, installation.application_pod, podIP=API_IP, podIPs=[{"ip": API_IP}])
    try:
        done = installation.meshctl("endpoints", "--pod", f"{SHOP}/{installation.application_pod}")
    finally:
        installation.set_ready(SHOP, installation.application_pod, APPLICATION_IP)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "kubectl logs" in done.stderr


# ---- version ----


def test_versions_of_all_there_is(installation: Installation) -> None:
    told = json.loads(installation.meshctl("version", "--cluster", "-o", "json").stdout)
    assert told["client"] == VERSION
    assert told["controllers"] == {installation.controller_pod: VERSION}
    assert set(told["sidecars"]) == {IMAGE}
    lines = installation.meshctl("version", "--cluster").stdout.splitlines()
    assert f"controller {installation.controller_pod}: {VERSION}" in lines
    assert lines[-1].split() == [IMAGE, str(told["sidecars"][IMAGE])]
