"""What the chart makes: valid objects, the names that the rest of meshctl knows, and no more rights than are used."""

import re
from dataclasses import fields
from itertools import product
from typing import Any

import kubernetes_validate
import pytest
import yaml

from injector.config import InjectionConfig, parse
from injector.containers import ADMIN_PORT_NAME
from injector.iptables import Interception
from meshctl.chart.functions import NAMES
from meshctl.chart.render import ORDER, render
from meshctl.chart.values import defaults, merged
from meshctl.check.facts import Permission
from meshctl.check.permissions import controller_needs
from proxy.version import VERSION
from tests.support.helm import CHART
from tests.support.manifests import Document, named
from tests.support.process import ROOT
from tests.unit.chart.samples import ADMIN_FROM, SAMPLES

NAMESPACE = "meshctl"
OTHERS = ("Issuer", "Certificate", "PodMonitor")  # kinds of other projects: Kubernetes has no schema of them
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
READ = ("get", "list", "watch")


def objects(sample: str) -> list[Document]:
    return [manifest.object for manifest in render(merged(defaults(), SAMPLES[sample]), NAMESPACE)]


def rights(role: Document) -> set[tuple[str, str, str]]:
    """(resource, verb, name or ""), one by one."""
    return {
        (resource, verb, name)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_object_is_valid(sample: str, version: str) -> None:
    for document in objects(sample):
        if document["kind"] not in OTHERS:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("sample", SAMPLES)
def test_only_kinds_of_the_whole_cluster_have_no_namespace(sample: str) -> None:
    for document in objects(sample):
        assert ("namespace" in document["metadata"]) == (document["kind"] not in CLUSTER_WIDE)


def test_the_samples_reach_every_kind() -> None:
    assert {document["kind"] for sample in SAMPLES for document in objects(sample)} == set(ORDER)


def test_the_webhook_comes_last() -> None:
    kinds = [document["kind"] for document in objects("everything")]
    assert kinds[-1] == "MutatingWebhookConfiguration"
    assert kinds.index("ServiceAccount") < kinds.index("RoleBinding") < kinds.index("Deployment")


def test_with_namespace_only_there_is_nothing_of_the_whole_cluster() -> None:
    for sample in ("namespace_only", "namespace_only_with_all"):
        made = objects(sample)
        assert not {document["kind"] for document in made} & {*CLUSTER_WIDE, "Certificate", "Issuer"}
    (role,) = named(objects("namespace_only"), "Role").values()
    assert rights(role) == {(what, verb, "") for what in ("services", "endpointslices") for verb in READ}
    (ports,) = (each["spec"]["ports"] for each in named(objects("namespace_only"), "Service").values())
    assert [port["name"] for port in ports] == ["endpoints", "admin"]


def test_the_controllers_rights_are_those_that_it_uses() -> None:
    made = objects("nothing")
    (whole,) = named(made, "ClusterRole").values()
    followed = ("services", "endpointslices", "namespaces")
    webhook = {("mutatingwebhookconfigurations", verb, "meshctl-injector") for verb in (*READ, "patch")}
    told = {("events", "create", ""), ("replicasets", "get", ""), ("jobs", "get", "")}
    assert rights(whole) == {(what, verb, "") for what in followed for verb in READ} | webhook | told
    (own,) = named(made, "Role").values()
    assert rights(own) == {
        *(("secrets", verb, "meshctl-webhook-tls") for verb in (*READ, "update")),
        *(("leases", verb, "meshctl-controller") for verb in ("get", "update")),
        ("secrets", "create", ""),
        ("leases", "create", ""),
    }


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_controllers_rights_are_exactly_those_that_meshctl_check_asks_for(sample: str) -> None:
    made = objects(sample)
    config = parse(named(made, "ConfigMap")["meshctl-controller"]["data"]["controller.yaml"])
    given = set()
    for role in (each for each in made if each["kind"] in ("Role", "ClusterRole")):
        if role["metadata"]["name"] == "meshctl-endpoints":
            continue  # the sidecars', in direct mode
        for rule in role["rules"]:
            for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
                for name in rule.get("resourceNames", [""]):
                    place = role["metadata"].get("namespace", "")
                    given.add(Permission(verb, f"{resource}.{group}".rstrip("."), place, name))
    assert given == set(controller_needs(NAMESPACE, config))


def test_a_certificate_that_others_make_is_only_read() -> None:
    made = objects("cert_manager")
    for kind in ("Role", "ClusterRole"):
        for role in named(made, kind).values():
            assert not [right for right in rights(role) if right[1] not in READ and right[0] != "events"]


def test_with_namespaces_services_are_read_in_these_alone() -> None:
    made = objects("namespaces")
    (whole,) = named(made, "ClusterRole").values()
    assert {what for what, _, _ in rights(whole)} == {"namespaces", "mutatingwebhookconfigurations"}
    assert {name for what, _, name in rights(whole) if what == "namespaces"} == {"shop", "12", "1e3"}
    where = [
        each["metadata"]["namespace"] for each in made if each["metadata"]["name"] == "meshctl-controller-endpoints"
    ]
    assert where == ["shop", "12", "1e3"] * 2
    (webhook,) = named(made, "MutatingWebhookConfiguration").values()
    selected = webhook["webhooks"][0]["namespaceSelector"]["matchExpressions"]
    assert {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "12", "1e3"]} in selected


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_binding_gives_a_role_that_there_is_to_an_account_that_there_is(sample: str) -> None:
    made = objects(sample)
    places = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in made}
    for binding in (each for each in made if each["kind"].endswith("Binding")):
        role = binding["roleRef"]
        assert (role["kind"], binding["metadata"].get("namespace"), role["name"]) in places
        for subject in binding["subjects"]:
            if subject["kind"] == "ServiceAccount":
                assert ("ServiceAccount", subject["namespace"], subject["name"]) in places
            else:
                assert subject["name"] == f"system:serviceaccounts:{binding['metadata']['namespace']}"


def test_the_webhook_leaves_out_the_systems_namespaces_and_its_own_and_names_no_authority() -> None:
    """A caBundle in the manifest would take away the controller's at the next apply."""
    (configuration,) = named(objects("nothing"), "MutatingWebhookConfiguration").values()
    (webhook,) = configuration["webhooks"]
    assert configuration["metadata"]["name"] == "meshctl-injector"
    assert webhook["name"] == "injector.meshctl.io"
    assert "caBundle" not in webhook["clientConfig"]
    assert webhook["namespaceSelector"]["matchExpressions"] == [
        {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", "kube-node-lease", NAMESPACE],
        },
        {"key": "meshctl.io/inject", "operator": "NotIn", "values": ["disabled"]},
    ]
    settings = ("failurePolicy", "timeoutSeconds", "reinvocationPolicy", "sideEffects")
    assert [webhook[name] for name in settings] == ["Ignore", 5, "IfNeeded", "NoneOnDryRun"]
    (provided,) = named(objects("provided"), "MutatingWebhookConfiguration").values()
    assert provided["webhooks"][0]["clientConfig"]["caBundle"] == "QUJD"


def test_the_webhook_reaches_the_controller_through_a_port_of_its_service() -> None:
    made = objects("nothing")
    reached = named(made, "MutatingWebhookConfiguration")["meshctl-injector"]["webhooks"][0]["clientConfig"]["service"]
    service = named(made, "Service")[reached["name"]]
    template = named(made, "Deployment")["meshctl-controller"]["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (controller,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in controller["ports"]}
    assert {port["port"]: ports[port["targetPort"]] for port in service["spec"]["ports"]} == {
        443: 8443,
        8086: 8086,
        9990: 9990,
    }
    assert reached["port"] == 443


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_controller_runs_with_no_more_than_it_needs(sample: str) -> None:
    (deployment,) = named(objects(sample), "Deployment").values()
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 2102,
        "runAsGroup": 2102,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert "requests" in container["resources"]


def test_with_ha_three_replicas_stand_apart_and_one_may_be_taken_at_a_time() -> None:
    made = objects("ha")
    deployment = named(made, "Deployment")["meshctl-controller"]["spec"]
    assert deployment["replicas"] == 3
    own = deployment["selector"]["matchLabels"]
    terms = deployment["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    budget = named(made, "PodDisruptionBudget")["meshctl-controller"]["spec"]
    assert budget["maxUnavailable"] == 1
    # Replicas that are broken, by a wrong setting say, serve nobody: they must not keep a node from being drained.
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    selected = [terms[0]["podAffinityTerm"]["labelSelector"], spread[0]["labelSelector"], budget["selector"]]
    assert selected == [{"matchLabels": own}] * 3
    assert not named(objects("nothing"), "PodDisruptionBudget")


def test_a_change_of_the_configuration_makes_new_pods() -> None:
    def checksum(sample: str) -> Any:
        template = named(objects(sample), "Deployment")["meshctl-controller"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert checksum("nothing") == checksum("ha") != checksum("injection")


def test_the_monitors_scrape_ports_that_the_pods_have() -> None:
    made = objects("everything")
    monitors = named(made, "PodMonitor")
    (controller,) = named(made, "Deployment")["meshctl-controller"]["spec"]["template"]["spec"]["containers"]
    (own,) = monitors["meshctl-controller"]["spec"]["podMetricsEndpoints"]
    assert own["port"] in [port["name"] for port in controller["ports"]]
    (sidecars,) = monitors["meshctl-sidecars"]["spec"]["podMetricsEndpoints"]
    assert sidecars["port"] == ADMIN_PORT_NAME
    assert all(monitor["metadata"]["labels"]["release"] == "prometheus" for monitor in monitors.values())


def test_the_sidecars_policy_closes_their_admin_port_alone_and_opens_it_to_who_is_named() -> None:
    policies = [each for each in objects("everything") if each["metadata"]["name"] == "meshctl-sidecars"]
    policy = named(policies, "NetworkPolicy")["meshctl-sidecars"]
    anyone, scrapers = policy["spec"]["ingress"]
    closed = set(range(1, 65536))
    for each in anyone["ports"]:
        if each["protocol"] == "TCP":
            closed -= set(range(each["port"], each["endPort"] + 1))
    assert closed == {Interception().admin_port} == {each["port"] for each in scrapers["ports"]}
    assert scrapers["from"] == ADMIN_FROM


def test_the_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_controller_understands_its_configuration(sample: str) -> None:
    made = objects(sample)
    config = parse(named(made, "ConfigMap")["meshctl-controller"]["data"]["controller.yaml"])
    (container,) = named(made, "Deployment")["meshctl-controller"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for name, port in ports.items():
        assert getattr(config, name).address.port == port
    assert config.webhook.enabled == bool(named(made, "MutatingWebhookConfiguration")) == ("webhook" in ports)
    assert config.injection.image == container["image"]
    asked = SAMPLES[sample].get("namespaces", [NAMESPACE] if SAMPLES[sample].get("namespaceOnly") else [])
    assert list(config.namespaces) == asked


def test_every_value_of_injection_reaches_the_controllers_settings() -> None:
    """The sample differs from the defaults in all of them."""
    default, changed = (
        parse(named(objects(sample), "ConfigMap")["meshctl-controller"]["data"]["controller.yaml"]).injection
        for sample in ("nothing", "injection")
    )
    same = {each.name for each in fields(default) if getattr(default, each.name) == getattr(changed, each.name)}
    assert same == {"image"}
    assert default == InjectionConfig(image=default.image)
    assert changed.cpu_limit == "1" and changed.memory_limit is None


def test_the_functions_listed_are_those_that_are_read_and_all_are_used() -> None:
    """The decision's page is where a change of the chart looks up what it may use."""
    page = (ROOT / "docs" / "adr" / "0008-chart-without-helm.md").read_text()
    (line,) = re.findall(r"^Functions: (.*)\.$", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == NAMES
    templates = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    actions = " ".join(re.findall(r"\{\{-? ([^/].*?)\}\}", templates))
    assert {name for name in NAMES if re.search(rf"\b{name}\b", actions)} == NAMES
