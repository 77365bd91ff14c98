"""The Helm chart, rendered by Helm itself; skipped without it (a `helm` on PATH)."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from injector.iptables import Interception
from proxy.config import load
from tests.support.manifests import DEPLOY, POD_EXAMPLE, Document, documents, named, pods

CHART = DEPLOY / "chart"
EVERYTHING: dict[str, Any] = {
    "serviceAccount": {"create": True},
    "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "adminFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
}
OWN_KINDS = ("PodMonitor",)  # of the Prometheus operator: Kubernetes has no schema of them

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=60)


def template(values: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(json.dumps(values))
    return helm(
        "template", "mesh", str(CHART), "--kube-version", "1.29.0", "--namespace", "emojivote", "--values", str(file)
    )


def rendered(values: dict[str, Any], folder: Path) -> list[Document]:
    done = template(values, folder)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def test_helm_finds_no_fault_in_it(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(EVERYTHING))
    done = helm("lint", "--strict", str(CHART), "--kube-version", "1.29.0", "--values", str(file))
    assert done.returncode == 0, done.stdout


def test_by_default_it_is_the_configuration_alone(tmp_path: Path) -> None:
    (only,) = rendered({}, tmp_path)
    assert (only["kind"], only["metadata"]["name"]) == ("ConfigMap", "mesh-sidecar")


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_everything_it_renders_is_valid_and_in_the_namespace(version: str, tmp_path: Path) -> None:
    everything = rendered(EVERYTHING, tmp_path)
    kinds = sorted(document["kind"] for document in everything)
    assert kinds == ["ConfigMap", "NetworkPolicy", "PodMonitor", "Role", "RoleBinding", "ServiceAccount"]
    for document in everything:
        if document["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["namespace"] == "emojivote"


def test_the_configuration_passes_its_check_also_with_clusters(tmp_path: Path) -> None:
    """That of the pod example, so both ways lead to the same sidecar."""
    (example,) = named(documents(POD_EXAMPLE), "ConfigMap").values()
    given = yaml.safe_load(example["data"]["proxy.yaml"])
    for values, clusters in (({}, 0), ({"config": given}, 1)):
        (config_map,) = rendered(values, tmp_path)
        file = tmp_path / "proxy.yaml"
        file.write_text(config_map["data"]["proxy.yaml"])
        config = load(file)
        assert len(config.clusters) == clusters
        assert {each.intercept for each in config.listeners} == {"inbound", "outbound"}
    assert yaml.safe_load(config_map["data"]["proxy.yaml"]) == given


def test_the_role_reads_services_and_endpoint_slices_of_its_namespace_and_nothing_else(tmp_path: Path) -> None:
    everything = rendered(EVERYTHING, tmp_path)
    ((name, role),) = named(everything, "Role").items()
    rights = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert rights == {(what, verb) for what in ("services", "endpointslices") for verb in ("get", "list", "watch")}
    (binding,) = named(everything, "RoleBinding").values()
    assert binding["roleRef"]["name"] == name
    assert [subject["name"] for subject in binding["subjects"]] == list(named(everything, "ServiceAccount"))


def test_the_admin_port_alone_is_closed_and_open_to_who_is_named(tmp_path: Path) -> None:
    ((_, policy),) = named(rendered(EVERYTHING, tmp_path), "NetworkPolicy").items()
    anyone, scrapers = policy["spec"]["ingress"]
    admin = Interception().admin_port
    closed = set(range(1, 65536))
    for each in anyone["ports"]:
        if each["protocol"] == "TCP":
            closed -= set(range(each["port"], each["endPort"] + 1))
    assert closed == {admin}
    assert [each["port"] for each in scrapers["ports"]] == [admin]
    assert scrapers["from"] == EVERYTHING["networkPolicy"]["adminFrom"]


def test_the_pod_monitor_scrapes_the_port_that_the_pod_example_names(tmp_path: Path) -> None:
    (monitor,) = named(rendered(EVERYTHING, tmp_path), "PodMonitor").values()
    (pod,) = pods(documents(POD_EXAMPLE))
    assert {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} <= pod.port_names
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(
    "wrong",
    [
        {"podMonitor": {"enable": True}},
        {"podMonitor": {"interval": "often"}},
        {"podLabels": {"meshctl.io/sidecar": True}},
        {"networkPolicy": {"adminFrom": "10.0.0.0/8"}},
        {"injector": {}},
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    done = template(wrong, tmp_path)
    assert done.returncode != 0
    assert next(iter(wrong)) in done.stderr
