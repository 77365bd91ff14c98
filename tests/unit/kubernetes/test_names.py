"""Which authorities name which Service, pod or nothing of ours."""

import pytest

from proxy.address import SocketAddress
from proxy.discovery.kubernetes.names import ServiceName, parse_authority
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.kubernetes.stage import filled, find, hosts

VOTING = ServiceName(("emojivote", "voting"), 8080)


@pytest.mark.parametrize(
    "host",
    [
        "voting",
        "voting.emojivote",
        "voting.emojivote.svc",
        "voting.emojivote.svc.cluster.local",
        "voting.emojivote.svc.cluster.local.",
        "Voting.EmojiVote.SVC.Cluster.Local",
    ],
)
def test_every_form_of_a_services_name_is_understood(host: str) -> None:
    assert parse_authority(f"{host}:8080", "emojivote") == VOTING
    assert parse_authority(host, "emojivote") == ServiceName(VOTING.key, 80)


@pytest.mark.parametrize(
    "authority",
    [
        "",
        ":80",
        ".:80",
        "voting.:80",  # absolute, and not in the cluster's domain
        "voting.emojivote.:80",
        "voting.emojivote.svc.:80",
        "voting..svc:80",
        ".emojivote:80",
        "example.com.au:80",
        "voting.emojivote.pod.cluster.local:80",
        "svc.cluster.local:80",
        "voting.svc.cluster.local:80",
        "web-0.web.emojivote.svc.cluster.local:80",
        "voting.emojivote.svc.other.domain:80",
        "voting.emojivote:0",
        "voting.emojivote:65536",
        "voting.emojivote:http",
        "voting.emojivote:",
        "voting.emojivote:²",
        "[fd00::1:80",
    ],
)
def test_other_names_are_not_ours(authority: str) -> None:
    assert parse_authority(authority, "emojivote") is None


def test_the_shortest_form_needs_the_namespace_of_the_pod_that_asks() -> None:
    assert parse_authority("voting:8080") is None
    assert parse_authority("voting:8080", "a") == ServiceName(("a", "voting"), 8080)


def test_the_clusters_domain_can_be_another() -> None:
    assert parse_authority("voting.emojivote.svc.k8s.example.:8080", domain="k8s.example") == VOTING
    assert parse_authority("voting.emojivote.svc.cluster.local:8080", domain="k8s.example") is None


@pytest.mark.parametrize("written", ["[FD00::1]:80", "[fd00:0::1]", "fd00::1"])
def test_addresses_are_brought_into_one_form(written: str) -> None:
    assert parse_authority(written) == SocketAddress("fd00::1", 80)


def test_a_service_is_found_by_each_of_its_addresses_and_a_pod_by_its_own() -> None:
    catalog = filled(
        service(ips=["10.96.0.1", "fd96::1"], ports=[{"name": "grpc", "port": 80}]),
        endpoint_slice("a", endpoint("10.1.0.1", "v-1"), endpoint("10.1.0.2", "v-2", ready=False)),
    )
    for authority in ("10.96.0.1:80", "[fd96::1]:80"):
        target = find(catalog, authority)
        assert hosts(target) == ["10.1.0.1:8080"]
        assert target is not None
        assert target.service == ("emojivote", "voting")
    pod = find(catalog, "10.1.0.2:8080")
    assert hosts(pod) == ["10.1.0.2:8080"], "a pod that is called by its address is meant, ready or not"
    assert pod is not None
    assert (pod.service, pod.members[0].endpoint.pod) == (None, "v-2")
    for unknown in ("10.96.0.1:81", "10.1.0.1:81", "10.1.0.9:8080", "voting.emojivote:81", "nobody.emojivote:80"):
        assert find(catalog, unknown) is None


def test_an_external_name_has_no_endpoints_and_is_not_ours() -> None:
    catalog = filled(
        service(type="ExternalName", externalName="example.com"), endpoint_slice("a", endpoint("10.1.0.1"))
    )
    assert find(catalog, "voting.emojivote:8080") is None
