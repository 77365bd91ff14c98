"""Clusters that are Kubernetes Services, and how the API server is reached."""

import pytest

from proxy.config import ConfigError, KubernetesConfig, KubernetesServiceConfig, parse

LISTENERS = "listeners: [{name: a, address: '[::1]:1'}]\nroutes: [{cluster: c}]\n"


def errors_of(content: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(LISTENERS + content)
    return caught.value.errors


@pytest.mark.parametrize(("written", "port"), [("8080", 8080), ("grpc", "grpc"), ("http-2", "http-2")])
def test_a_cluster_is_a_port_of_a_service_by_number_or_name(written: str, port: int | str) -> None:
    config = parse(f"{LISTENERS}clusters: [{{name: c, kubernetes: {{service: v, namespace: e, port: {written}}}}}]")
    assert config.clusters[0].source == KubernetesServiceConfig(service="v", namespace="e", port=port)
    assert config.kubernetes == KubernetesConfig()
    assert parse(str(config.as_dict()).replace("None", "null")) == config


def test_the_zone_can_come_from_the_environment() -> None:
    content = (
        f"{LISTENERS}kubernetes: {{kubeconfig: /etc/k, context: x}}\nclusters: [{{name: c, static: {{endpoints: []}}}}]"
    )
    config = parse(content, {"MESHCTL_KUBERNETES_ZONE": "eu-1a"})
    assert config.kubernetes == KubernetesConfig(kubeconfig="/etc/k", context="x", zone="eu-1a")


@pytest.mark.parametrize("port", ["0", "65536", "true", "'8080'", "'80 80'", "1.5", "[]", "Upper", "x" * 64])
def test_what_is_no_port_is_refused(port: str) -> None:
    (error,) = errors_of(f"clusters: [{{name: c, kubernetes: {{service: v, namespace: e, port: {port}}}}}]")
    assert error.startswith("clusters[0].kubernetes.port: must be a port from 1 to 65535, or the name of one, not ")


@pytest.mark.parametrize("name", ["v.e", "Voting", "../v", "v/../w", "''", "'v?x=1'", "-v", "v-"])
def test_a_name_that_would_lead_elsewhere_in_the_api_is_refused(name: str) -> None:
    errors = errors_of(f"clusters: [{{name: c, kubernetes: {{service: {name}, namespace: {name}, port: 1}}}}]")
    assert [error.partition(":")[0] for error in errors] == [
        "clusters[0].kubernetes.service",
        "clusters[0].kubernetes.namespace",
    ]


def test_a_cluster_has_one_source_and_a_context_needs_its_file() -> None:
    source = "kubernetes: {service: v, namespace: e, port: 1}"
    rest = "kubernetes: {context: x}"
    assert errors_of(f"{rest}\nclusters: [{{name: c, {source}, dns: {{name: x.test, port: 1}}}}]") == (
        "kubernetes.context: needs `kubeconfig`",
        "clusters[0]: has both `dns` and `kubernetes`; keep one of them",
    )
    assert errors_of("clusters: [{name: c}]") == (
        "clusters[0]: has no source of endpoints; add `static`, `dns` or `kubernetes`",
    )
