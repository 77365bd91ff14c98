"""The webhook behind a real admission chain, installed with the manifests that ship, and certificates that change."""

import base64
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest
from cryptography import x509

from tests.kube.api import RefusedError
from tests.kube.cluster import Cluster
from tests.kube.installed import (
    CONFIGURATION,
    LEASE,
    SECRET,
    ControllerPod,
    be_patient,
    has_sidecar,
    install,
    pod,
    scheduled_pods,
)
from tests.kube.objects import NODE
from tests.kube.programs import Programs
from tests.netns.conftest import namespaces  # noqa: F401 - a fixture
from tests.netns.namespace import Namespace
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]

API_SERVER, *PODS = "10.251.0.1", "10.251.0.2", "10.251.0.3"
RATE = 50
SOME = 100  # admissions before and after
WITHOUT_S = 20  # a refused connection is no reason to wait for the webhook's timeout, which is 30 s here


@pytest.fixture(scope="module")
def installed(
    request: pytest.FixtureRequest, kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, list[ControllerPod]]]:
    """Two replicas of the controller in a cluster of their own, ready."""
    request.getfixturevalue("namespaces")
    directory = tmp_path_factory.mktemp("webhook")
    with Namespace("webhook") as inside:
        inside.ip(*(f"address add {address}/32 dev lo" for address in (API_SERVER, *PODS)))
        with Cluster(directory, kube_programs, inside.place(), API_SERVER) as cluster:
            cluster.admin.create("/api/v1/nodes", {"metadata": {"name": NODE}})
            install(cluster)
            be_patient(cluster.admin)
            cluster.admin.patch(
                "/apis/apps/v1/namespaces/meshctl/deployments/meshctl-controller", {"spec": {"replicas": len(PODS)}}
            )
            names = scheduled_pods(cluster.admin, len(PODS), wait_until)
            replicas = [ControllerPod(cluster, name, ip, directory) for name, ip in zip(names, PODS, strict=True)]
            try:
                for replica in replicas:
                    replica.wait_until_ready()
                yield cluster, replicas
            finally:
                for replica in replicas:
                    replica.process.close()


@pytest.fixture
def shop(installed: tuple[Cluster, list[ControllerPod]]) -> Iterator[str]:
    """A namespace that wants sidecars, where they come."""
    cluster, _ = installed
    name = f"shop-{time.monotonic_ns()}"
    annotations = {"meshctl.io/inject": "enabled"}
    cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": name, "annotations": annotations}})
    cluster.admin.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default")
    wait_until(lambda: has_sidecar(tried(cluster, name)), "pods are injected", 60)
    yield name
    cluster.admin.delete(f"/api/v1/namespaces/{name}/pods", grace_s=0)
    cluster.admin.delete(f"/api/v1/namespaces/{name}")


def tried(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """A pod as it would be made."""
    return cluster.admin.create(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod())


def test_a_pod_is_injected_as_it_is_made(installed: tuple[Cluster, list[ControllerPod]], shop: str) -> None:
    cluster, _ = installed
    made = cluster.admin.create(f"/api/v1/namespaces/{shop}/pods", pod())
    assert [each["name"] for each in made["spec"]["initContainers"]] == ["meshctl-init", "meshctl-proxy"]
    assert made["metadata"]["annotations"]["meshctl.io/injected"] == "native"
    environment = {each["name"]: each.get("value") for each in made["spec"]["initContainers"][1]["env"]}
    assert environment["MESHCTL_DISCOVERY_CONTROLLER"] == "meshctl-controller.meshctl.svc:8086"


def test_the_sidecar_gets_the_pods_token_only_where_it_needs_it(
    installed: tuple[Cluster, list[ControllerPod]], shop: str
) -> None:
    cluster, _ = installed
    for discovery, expected in ("controller", {"web"}), ("direct", {"web", "meshctl-proxy"}):
        asked = pod(discovery)
        asked["metadata"]["annotations"] = {"config.meshctl.io/discovery": discovery}
        spec = cluster.admin.create(f"/api/v1/namespaces/{shop}/pods", asked)["spec"]
        (token,) = [each["name"] for each in spec["volumes"] if "projected" in each]
        containers = (*spec["initContainers"], *spec["containers"])
        holders = {
            each["name"] for each in containers if token in [mount["name"] for mount in each.get("volumeMounts", ())]
        }
        assert holders == expected, discovery


def test_pod_and_namespace_say_whether(installed: tuple[Cluster, list[ControllerPod]], shop: str) -> None:
    cluster, _ = installed
    left = cluster.admin.create(f"/api/v1/namespaces/{shop}/pods", pod("left", inject="disabled"))
    assert not has_sidecar(left)
    asked = cluster.admin.create("/api/v1/namespaces/default/pods?dryRun=All", pod("asked", inject="enabled"))
    assert has_sidecar(asked)
    assert not has_sidecar(tried(cluster, "default"))


def test_a_wrong_annotation_is_an_event_of_a_pod_without_an_owner(
    installed: tuple[Cluster, list[ControllerPod]], shop: str
) -> None:
    cluster, _ = installed
    made = cluster.admin.create(f"/api/v1/namespaces/{shop}/pods", pod("wrong", inject="perhaps"))
    assert not has_sidecar(made)
    events = wait_until(
        lambda: cluster.admin.get(f"/api/v1/namespaces/{shop}/events?fieldSelector=reason%3DNotInjected")["items"],
        "an event",
        60,
    )
    assert events[0]["involvedObject"]["name"] == "wrong"
    assert events[0]["type"] == "Warning"
    assert "meshctl.io/inject: 'perhaps' is none of enabled, disabled" in events[0]["message"]


def test_the_deployment_of_a_pod_is_told(installed: tuple[Cluster, list[ControllerPod]], shop: str) -> None:
    cluster, _ = installed
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod()["spec"]}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    path = f"/apis/apps/v1/namespaces/{shop}/deployments"
    uid = cluster.admin.create(path, {"metadata": {"name": "web"}, "spec": spec})["metadata"]["uid"]
    events = f"/api/v1/namespaces/{shop}/events?fieldSelector=involvedObject.kind%3DDeployment%2Creason%3DInjected"
    found = wait_until(lambda: cluster.admin.get(events)["items"], "an event", 60)
    assert {each["involvedObject"]["uid"] for each in found} == {uid}
    assert len(found) <= len(PODS), "one from each replica of the controller at most"


def test_one_leads_and_another_follows(installed: tuple[Cluster, list[ControllerPod]], shop: str) -> None:
    cluster, replicas = installed
    wait_until(lambda: [replica.leads for replica in replicas].count(True) == 1, "one leads", 60)
    leader = next(replica for replica in replicas if replica.leads)
    other = next(replica for replica in replicas if replica is not leader)
    assert cluster.admin.get(LEASE)["spec"]["holderIdentity"].startswith(leader.name)
    leader.say_ready(False)
    leader.process.stop()
    wait_until(lambda: other.leads, "the other leads", 60)
    cluster.admin.delete(SECRET)
    wait_until(lambda: made_authorities(cluster), "it makes a certificate", 60)
    wait_until(lambda: has_sidecar(tried(cluster, shop)), "pods are injected", 60)
    leader.restart()


def test_rotation_under_load_fails_no_admission(installed: tuple[Cluster, list[ControllerPod]], shop: str) -> None:
    """Also not where somebody deletes the Secret, so that all is made anew at once."""
    cluster, _ = installed
    wait_until(lambda: trusted(cluster) == made_authorities(cluster), "what was before is over", 90)
    before = trusted(cluster)
    with Load(cluster, shop) as load:
        load.wait_for_more(SOME)
        cluster.admin.delete(SECRET)
        wait_until(lambda: made_authorities(cluster), "a new Secret", 60)
        wait_until(lambda: trusted(cluster) == made_authorities(cluster), "trust in the new one alone", 90)
        load.wait_for_more(SOME)
    assert before[0] not in trusted(cluster)
    print(f"{len(load.times_s)} admissions in {load.took_s:.0f} s, worst {max(load.times_s) * 1000:.0f} ms")
    assert load.failures == []


def test_without_a_controller_pods_are_made_as_they_are(
    installed: tuple[Cluster, list[ControllerPod]], shop: str
) -> None:
    cluster, replicas = installed
    for replica in replicas:
        replica.process.signal(signal.SIGKILL)
        replica.process.wait()
    began_s = time.monotonic()
    assert not has_sidecar(tried(cluster, shop))
    assert time.monotonic() - began_s < WITHOUT_S
    for replica in replicas:
        replica.restart()
    wait_until(lambda: has_sidecar(tried(cluster, shop)), "pods are injected again", 90)


class Load:
    """Pods that are tried, RATE of them in a second, until the block is left. A failure: one without a sidecar."""

    WORKERS = 8

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(self.WORKERS)]
        self.times_s: list[float] = []
        self.failures: list[str] = []
        self.took_s = 0.0

    def wait_for_more(self, count: int) -> None:
        wanted = len(self.times_s) + count
        wait_until(lambda: len(self.times_s) >= wanted, f"{count} more admissions", 60)

    def _work(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                if not has_sidecar(tried(self._cluster, self._namespace)):
                    self.failures.append("a pod without a sidecar")
            except (OSError, RefusedError) as error:
                self.failures.append(repr(error))
            self.times_s.append(time.monotonic() - began_s)
            due_s += self.WORKERS / RATE
            self._stop.wait(max(0.0, due_s - time.monotonic()))

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.took_s = time.monotonic() - self._began_s


def made_authorities(cluster: Cluster) -> list[x509.Certificate]:
    """Those in the Secret, none while there is no Secret."""
    try:
        held = cluster.admin.get(SECRET)["data"]["ca.crt"]
    except RefusedError:
        return []
    return x509.load_pem_x509_certificates(base64.b64decode(held))


def trusted(cluster: Cluster) -> list[x509.Certificate]:
    """Those in the caBundle."""
    bundle = cluster.admin.get(CONFIGURATION)["webhooks"][0]["clientConfig"]["caBundle"]
    return x509.load_pem_x509_certificates(base64.b64decode(bundle))
