"""Installations elsewhere than in `meshctl`: one for the cluster, and one that has nothing outside of its namespace."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.installed import ControllerPod, be_patient, has_sidecar, install, pod, scheduled_pods
from tests.kube.objects import NODE, make_pod, make_service
from tests.kube.programs import Programs
from tests.netns.conftest import namespaces  # noqa: F401 - a fixture
from tests.netns.namespace import Namespace
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]

API_SERVER, SYSTEM_IP, TEAM_IP = "10.251.1.1", "10.251.1.2", "10.251.1.3"
SYSTEM, TEAM = "mesh-system-1", "team"


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster of its own, with addresses that a Service may have as endpoints."""
    request.getfixturevalue("namespaces")
    with Namespace("elsewhere") as inside:
        inside.ip(*(f"address add {address}/32 dev lo" for address in (API_SERVER, SYSTEM_IP, TEAM_IP)))
        with Cluster(tmp_path_factory.mktemp("elsewhere"), kube_programs, inside.place(), API_SERVER) as cluster:
            cluster.admin.create("/api/v1/nodes", {"metadata": {"name": NODE}})
            for name in (TEAM, "shop"):
                cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
                cluster.admin.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default")
                make_service(cluster.admin, name)
                make_pod(cluster.admin, name, "voting-1", f"10.251.2.{len(name)}")
            yield cluster


def controller(cluster: Cluster, namespace: str, ip: str) -> ControllerPod:
    (name,) = scheduled_pods(cluster.admin, 1, wait_until, namespace)
    replica = ControllerPod(cluster, name, ip, cluster.directory, namespace)
    try:
        replica.wait_until_ready()
    except BaseException:
        replica.process.close()
        raise
    return replica


def endpoints(replica: ControllerPod, authority: str) -> Any:
    status, text = replica.get(f"/endpoints?authority={authority}")
    return [each["pod"] for each in json.loads(text)["endpoints"]] if status == 200 else status


def test_the_webhook_of_another_namespace_is_called(cluster: Cluster) -> None:
    install(cluster, "--namespace", SYSTEM, "--set", f"namespaces=[shop,{TEAM}]")
    be_patient(cluster.admin)
    replica = controller(cluster, SYSTEM, SYSTEM_IP)
    try:
        path = "/api/v1/namespaces/shop/pods?dryRun=All"

        def tried() -> dict[str, Any]:
            return cluster.admin.create(path, pod("asked", inject="enabled"))

        wait_until(lambda: has_sidecar(tried()), "pods are injected", 60)
        environment = {each["name"]: each.get("value") for each in tried()["spec"]["initContainers"][1]["env"]}
        assert environment["MESHCTL_DISCOVERY_CONTROLLER"] == f"meshctl-controller.{SYSTEM}.svc:8086"
        for namespace in (SYSTEM, "default"):
            made = cluster.admin.create(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod("x", inject="enabled"))
            assert not has_sidecar(made), namespace
        wait_until(lambda: endpoints(replica, "voting.shop") == ["voting-1"], "the Service's pod is known", 60)
        assert endpoints(replica, "kubernetes.default:443") == 404
        assert_nothing_was_refused(replica)
    finally:
        replica.process.close()


def test_with_namespace_only_the_controller_needs_nothing_outside(cluster: Cluster) -> None:
    install(cluster, "--namespace-only", "--namespace", TEAM)
    replica = controller(cluster, TEAM, TEAM_IP)
    try:
        wait_until(lambda: endpoints(replica, f"voting.{TEAM}") == ["voting-1"], "the Service's pod is known", 60)
        assert endpoints(replica, "voting.shop") == 404
        assert "meshctl_injections" not in replica.get("/metrics")[1]
        assert_nothing_was_refused(replica)
        replica.process.terminate()
        assert replica.process.wait(60) == 0
    finally:
        replica.process.close()
    account: Api = cluster.account(TEAM, "meshctl-controller")
    assert account.text("GET", "/api/v1/namespaces/shop/services")[0] == 403


def assert_nothing_was_refused(replica: ControllerPod) -> None:
    log = replica.process.stderr()
    assert "forbidden" not in log, log
