"""The demo for a cluster: valid against Kubernetes' own schemas, and consistent in itself and with the programs."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from injector.patch import injection
from injector.settings import Settings
from tests.image.dockerfile import parse
from tests.support.manifests import DEMO, DEPLOY, POD_EXAMPLE, Document, Pod, documents, named, pods, variables
from tests.support.process import ROOT

KUSTOMIZATION = DEMO / "kustomization.yaml"
MANIFESTS = sorted(path for path in DEMO.glob("*.yaml") if path != KUSTOMIZATION)
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()


@pytest.fixture(scope="module")
def demo() -> list[Document]:
    return [document for path in MANIFESTS for document in documents(path)]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", [*MANIFESTS, POD_EXAMPLE], ids=lambda path: Path(path).name)
def test_every_document_is_valid(path: Path, version: str) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_an_invalid_document_is_noticed() -> None:
    (document,) = documents(DEMO / "namespace.yaml")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**document, "metadat": {}}, OLDEST, strict=True)


def test_kustomize_takes_every_file_and_sets_every_image(demo: list[Document]) -> None:
    kustomization = yaml.safe_load(KUSTOMIZATION.read_text())
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]
    images = {container["image"] for pod in pods(demo) for container in pod.containers.values()}
    assert images == {image["name"] for image in kustomization["images"]} == {"meshctl-demo"}
    assert list(named(demo, "Namespace")) == [kustomization["namespace"]]


def test_there_are_three_voting_pods_behind_a_headless_service(demo: list[Document]) -> None:
    assert named(demo, "Deployment").keys() == {"emoji", "voting", "web", "bot"}
    assert named(demo, "Deployment")["voting"]["spec"]["replicas"] == 3
    headless = [name for name, each in named(demo, "Service").items() if each["spec"].get("clusterIP") == "None"]
    assert headless == ["voting"]


def test_no_probe_is_of_a_port_alone_which_the_sidecar_would_answer(demo: list[Document]) -> None:
    probed = [container for pod in pods(demo) for container in pod.containers.values() if "readinessProbe" in container]
    assert {container["name"] for container in probed} == {"emoji", "voting", "web"}
    assert all(container["readinessProbe"].keys() & {"grpc", "httpGet"} for container in probed)


def test_the_namespace_asks_for_sidecars_and_no_pod_refuses_one(demo: list[Document]) -> None:
    annotations = named(demo, "Namespace")["emojivote"]["metadata"]["annotations"]
    settings = Settings(image="meshctl")
    for deployment in named(demo, "Deployment").values():
        pod = deployment["spec"]["template"]
        assert injection(pod, settings, annotations, by_default=False).report.reason is None


def test_each_service_selects_one_workload_and_a_port_that_it_has(demo: list[Document]) -> None:
    for name, service in named(demo, "Service").items():
        selected = [pod for pod in pods(demo) if service["spec"]["selector"].items() <= pod.labels.items()]
        assert [pod.name for pod in selected] == [name]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= selected[0].port_names


def test_a_deployment_selects_its_own_pods(demo: list[Document]) -> None:
    for deployment in named(demo, "Deployment").values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def every_pod() -> list[Pod]:
    return pods([document for path in [*MANIFESTS, POD_EXAMPLE] for document in documents(path)])


@pytest.mark.parametrize("pod", every_pod(), ids=lambda pod: pod.name)
def test_a_program_is_in_the_image_and_knows_the_variables_it_is_given(pod: Pod) -> None:
    container = pod.containers.get(pod.name) or pod.containers["web"]
    (program,) = container["args"]
    text = (DEPLOY / "demo" / program).read_text()
    options = set(re.findall(r'options\.add\("([\w-]+)"', text))
    options |= {"host", "port"} if "add_listening(" in text else set()
    assert variables(container).keys() <= {option.replace("-", "_").upper() for option in options}


@pytest.mark.parametrize("pod", every_pod(), ids=lambda pod: pod.name)
def test_a_program_is_told_addresses_of_services_that_there_are(pod: Pod, demo: list[Document]) -> None:
    services = named(demo, "Service")
    for container in pod.containers.values():
        for name, value in variables(container).items():
            if not name.endswith("_ADDRESS"):
                continue
            host, _, port = (value or "").partition(":")
            service, namespace, rest = host.split(".", 2)
            assert (namespace, rest) == ("emojivote", "svc.cluster.local")
            assert int(port) in [each["port"] for each in services[service]["spec"]["ports"]]


@pytest.mark.parametrize("pod", every_pod(), ids=lambda pod: pod.name)
def test_nothing_runs_with_more_than_it_needs(pod: Pod) -> None:
    assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for name, container in pod.containers.items():
        context = container["securityContext"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert container["resources"].keys() == {"requests", "limits"}
        as_root = not context.get("runAsNonRoot", pod.spec["securityContext"].get("runAsNonRoot"))
        assert as_root == (name == "meshctl-init")


def test_what_a_pause_before_the_end_runs_is_where_the_image_has_it(demo: list[Document]) -> None:
    """A preStop hook that cannot run is only an event; the pod's end would then cost calls."""
    (entry,) = parse(ROOT / "Dockerfile").stages["demo"].of("ENTRYPOINT")
    hooks = [
        container["lifecycle"]["preStop"]["exec"]["command"]
        for pod in pods(demo)
        for container in pod.containers.values()
        if "lifecycle" in container
    ]
    assert len(hooks) == 3
    for python, option, program in hooks:
        assert [python] == entry.words()
        assert option == "-c"
        compile(program, "preStop", "exec")
