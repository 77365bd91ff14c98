"""Direct mode against a real API server: endpoints of slices that the real controller makes."""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from proxy.address import SocketAddress
from proxy.config import KubernetesConfig, KubernetesServiceConfig
from proxy.discovery import DoesNotExist, Reset
from proxy.discovery.kubernetes.api import ApiServer, GoneError
from proxy.discovery.kubernetes.names import ServiceName, parse_authority
from proxy.discovery.kubernetes.resolver import KubernetesResolver
from proxy.discovery.kubernetes.source import CORE
from tests.kube.api import RefusedError
from tests.kube.cluster import Cluster
from tests.kube.followed import followed, kept
from tests.kube.objects import PORT, grant_direct_mode, make_pod, make_service, set_pod
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]

NO_GRACE = 0

MakeResolver = Callable[..., KubernetesResolver]


@pytest.fixture
def account(cluster: Cluster, namespace: str, tmp_path: Path) -> KubernetesConfig:
    """A service account with the shipped Role, and nothing else; by its token."""
    grant_direct_mode(cluster.admin, namespace)
    return KubernetesConfig(
        kubeconfig=str(cluster.account(namespace).access.kubeconfig(tmp_path / "account.kubeconfig"))
    )


@pytest.fixture
def resolver(account: KubernetesConfig, namespace: str) -> MakeResolver:
    def make(service: str = "voting", port: int | str = "grpc") -> KubernetesResolver:
        return KubernetesResolver(KubernetesServiceConfig(service=service, namespace=namespace, port=port), account)

    return make


def watch_from(version: str, config: KubernetesConfig, path: str) -> None:
    """Waits for the first event, or for what the API server says instead."""

    async def first_event() -> None:
        api = ApiServer(config)
        try:
            async with aclosing(api.watch(path, {}, version, timeout_s=20)) as events:
                async for _ in events:
                    return
        finally:
            await api.close()

    asyncio.run(first_event())


def test_endpoints_are_the_ready_pods(cluster: Cluster, namespace: str, resolver: MakeResolver) -> None:
    api = cluster.admin
    with followed(resolver()) as seen:
        seen.wait_for_none()
        make_service(api, namespace)
        seen.wait_for()
        first = make_pod(api, namespace, "first", "10.1.0.1")
        make_pod(api, namespace, "second", "10.1.0.2")
        seen.wait_for("first", "second")
        set_pod(api, first, "10.1.0.1", ready=False)
        seen.wait_for("second")
        set_pod(api, first, "10.1.0.1", ready=True)
        seen.wait_for("first", "second")
        shown = {each.host: each for each in (seen.endpoints or {}).values()}
        assert shown["10.1.0.1"].port == PORT
        assert shown["10.1.0.1"].uid == api.get(first)["metadata"]["uid"]
        api.delete(f"/api/v1/namespaces/{namespace}/services/voting")
        seen.wait_for_none()
    assert [type(update) for update in seen.updates[:2]] == [DoesNotExist, Reset]


def test_a_pod_with_the_address_of_one_before_it_is_another_endpoint(
    cluster: Cluster, namespace: str, resolver: MakeResolver
) -> None:
    make_service(cluster.admin, namespace)
    with followed(resolver()) as seen:
        old = make_pod(cluster.admin, namespace, "old", "10.1.1.1")
        seen.wait_for("old")
        cluster.admin.delete(old, NO_GRACE)
        make_pod(cluster.admin, namespace, "new", "10.1.1.1")
        seen.wait_for("new")


def test_pods_that_terminate_serve_until_another_is_ready(
    cluster: Cluster, namespace: str, resolver: MakeResolver
) -> None:
    api = cluster.admin
    make_service(api, namespace)
    with followed(resolver()) as seen:
        old = make_pod(api, namespace, "old", "10.1.2.1")
        seen.wait_for("old")
        api.delete(old, grace_s=300)
        terminating = "{.items[0].endpoints[0].conditions.terminating}"
        asked = ("--namespace", namespace, "get", "endpointslices", "--output", f"jsonpath={terminating}")
        wait_until(lambda: cluster.kubectl(*asked) == "true", "a slice that says so")
        seen.wait_for("old")
        make_pod(api, namespace, "new", "10.1.2.2")
        seen.wait_for("new")
        api.delete(old, NO_GRACE)


def test_the_target_port_is_each_pods_own(cluster: Cluster, namespace: str, resolver: MakeResolver) -> None:
    make_service(cluster.admin, namespace)
    with followed(resolver(port=80)) as seen:
        make_pod(cluster.admin, namespace, "old", "10.1.3.1", port=8080)
        make_pod(cluster.admin, namespace, "new", "10.1.3.2", port=9090)
        seen.wait_for("old", "new")
        assert {(each.pod, each.port) for each in (seen.endpoints or {}).values()} == {("old", 8080), ("new", 9090)}


def test_a_service_of_many_pods_has_several_slices(cluster: Cluster, namespace: str, resolver: MakeResolver) -> None:
    api = cluster.admin
    make_service(api, namespace)
    names = [f"pod-{number}" for number in range(130)]
    with followed(resolver()) as seen:
        for number, name in enumerate(names):
            make_pod(api, namespace, name, f"10.1.4.{number + 1}")
        seen.wait_for(*names)
        slices = api.get(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")["items"]
        assert len(slices) > 1
        for name in names[5:]:
            api.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", NO_GRACE)
        seen.wait_for(*names[:5])


def test_the_whole_cluster_is_known_by_every_name(cluster: Cluster, namespace: str) -> None:
    api = cluster.admin
    address = make_service(api, namespace)["spec"]["clusterIP"]
    make_service(api, namespace, "alone", clusterIP="None")
    make_pod(api, namespace, "one", "10.1.5.1")
    make_pod(api, namespace, "other", "10.1.5.2", app="alone")
    names = {
        f"voting.{namespace}": "one",
        f"voting.{namespace}.svc.cluster.local": "one",
        address: "one",
        f"10.1.5.1:{PORT}": "one",
        f"alone.{namespace}.svc": "other",
        f"alone.{namespace}:{PORT}": "other",
    }
    with kept(KubernetesConfig(kubeconfig=str(cluster.kubeconfig))) as catalog:

        def found(authority: str) -> list[str] | None:
            name = parse_authority(authority)
            target = catalog.find(name) if name is not None else None
            return None if target is None else [member.endpoint.pod for member in target.members]

        wait_until(lambda: all(found(authority) == [pod] for authority, pod in names.items()), "all pods")
        target = catalog.find(SocketAddress(address, 80))
        assert target is not None
        assert target.protocol == "http2"
        # The API server's own Service has no endpoints on loopback, but is there.
        assert found("kubernetes.default.svc.cluster.local:443") == []
        assert found("10.1.5.99:80") is None


def test_a_catalog_of_some_namespaces_needs_no_more(
    cluster: Cluster, namespace: str, account: KubernetesConfig
) -> None:
    make_service(cluster.admin, namespace)
    with kept(account, namespace) as catalog:
        assert catalog.find(ServiceName((namespace, "voting"), 80)) is not None
        assert catalog.find(ServiceName(("default", "kubernetes"), 443)) is None


# ---- the API server comes and goes ----


def test_endpoints_stay_while_the_api_server_is_away(cluster: Cluster, namespace: str, resolver: MakeResolver) -> None:
    api = cluster.admin
    make_service(api, namespace)
    first = make_pod(api, namespace, "first", "10.1.6.1")
    with followed(resolver()) as seen:
        seen.wait_for("first")
        cluster.kill("kube-apiserver")
        updates = len(seen.updates)
        cluster.start_api_server()
        cluster.restart_controllers()
        assert len(seen.updates) == updates
        make_pod(api, namespace, "second", "10.1.6.2")
        seen.wait_for("first", "second", timeout_s=60)
        api.delete(first, NO_GRACE)
        seen.wait_for("second")


def test_what_happened_while_it_was_away_and_forgotten_is_found_by_listing(
    cluster: Cluster, namespace: str, account: KubernetesConfig, resolver: MakeResolver
) -> None:
    """Compaction: the version that a watch would go on from is gone."""
    api = cluster.admin
    version = make_service(api, namespace)["metadata"]["resourceVersion"]
    first = make_pod(api, namespace, "first", "10.1.7.1")
    with followed(resolver()) as seen:
        seen.wait_for("first")
        cluster.stop("kube-apiserver")
        # Without the watch cache, every watch goes on from what etcd still has.
        cluster.start_api_server("--watch-cache=false")
        cluster.restart_controllers()
        api.delete(first, NO_GRACE)
        make_pod(api, namespace, "second", "10.1.7.2")
        cluster.compact()
        with pytest.raises(GoneError):
            watch_from(version, account, f"{CORE}/namespaces/{namespace}/services")
        seen.wait_for("second", timeout_s=60)
        cluster.stop("kube-apiserver")
        cluster.start_api_server()
        cluster.restart_controllers()


def test_a_stopping_api_server_is_left_for_the_next_one(
    cluster: Cluster, namespace: str, resolver: MakeResolver
) -> None:
    make_service(cluster.admin, namespace)
    with followed(resolver()) as seen:
        make_pod(cluster.admin, namespace, "first", "10.1.8.1")
        seen.wait_for("first")
        cluster.stop("kube-apiserver")
        cluster.start_api_server()
        cluster.restart_controllers()
        make_pod(cluster.admin, namespace, "second", "10.1.8.2")
        seen.wait_for("first", "second", timeout_s=60)


# ---- rights ----


def test_the_shipped_role_gives_no_more_than_services_and_slices_of_its_namespace(
    cluster: Cluster, namespace: str
) -> None:
    grant_direct_mode(cluster.admin, namespace)
    account = cluster.account(namespace)
    review = {"spec": {"namespace": namespace}}
    answer = account.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    granted = {
        (group, resource, verb)
        for rule in answer["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if not re.search("selfsubject", resource)  # what everybody may: ask about themselves
    }
    kinds = (("", "services"), ("discovery.k8s.io", "endpointslices"))
    assert granted == {(group, resource, verb) for group, resource in kinds for verb in ("get", "list", "watch")}
    for path in ("/api/v1/services", f"/api/v1/namespaces/{namespace}/pods", "/api/v1/namespaces/default/services"):
        with pytest.raises(RefusedError) as refused:
            account.get(path)
        assert refused.value.status == 403


def test_without_rights_it_waits_for_them(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    make_service(cluster.admin, namespace)
    kubeconfig = cluster.account(namespace).access.kubeconfig(tmp_path / "kubeconfig")
    service = KubernetesServiceConfig(service="voting", namespace=namespace, port="grpc")
    with followed(KubernetesResolver(service, KubernetesConfig(kubeconfig=str(kubeconfig)))) as seen:
        grant_direct_mode(cluster.admin, namespace)
        seen.wait_for()
