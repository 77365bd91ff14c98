"""`meshctl install` as a command: what goes to stdout and stderr, and the exit codes. No cluster is needed for it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshctl.chart.render import ORDER
from meshctl.installation import COLLECTIONS, labels
from proxy.version import VERSION
from tests.support.manifests import Document, named
from tests.support.process import ROOT


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshctl", *arguments]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60)


def installed(*arguments: str, text: str = "") -> list[Document]:
    done = run("install", *arguments, text=text)
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


def settings(made: list[Document]) -> Any:
    return yaml.safe_load(named(made, "ConfigMap")["meshctl-values"]["data"]["values.yaml"])


def controller(made: list[Document]) -> Document:
    (container,) = named(made, "Deployment")["meshctl-controller"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_the_namespace_comes_first_and_the_webhook_last() -> None:
    kinds = [each["kind"] for each in installed()]
    assert (kinds[0], kinds[-1]) == ("Namespace", "MutatingWebhookConfiguration")


def test_every_object_is_in_the_namespace_and_has_the_installations_labels() -> None:
    for each in installed("--namespace", "mesh"):
        assert each["metadata"].get("namespace", "mesh") == "mesh"
        assert labels("mesh").items() <= each["metadata"]["labels"].items()


def test_every_kind_that_can_be_installed_can_be_found_again() -> None:
    assert {*ORDER} <= COLLECTIONS.keys()
    for each in installed("--ha", "--set", "podMonitor.enabled=true", "--set", "networkPolicy.enabled=true"):
        assert COLLECTIONS[each["kind"]][0] == each["apiVersion"]


def test_what_the_controller_writes_is_not_in_the_manifest() -> None:
    made = installed()
    assert not named(made, "Secret") and not named(made, "Lease")
    (webhook,) = named(made, "MutatingWebhookConfiguration")["meshctl-injector"]["webhooks"]
    assert "caBundle" not in webhook["clientConfig"]


def test_settings_come_from_files_then_options_then_pairs_and_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("ha: true\nlogLevel: warning\ninjection: {cpuRequest: 20m, memoryRequest: 64Mi}\n")
    made = installed(
        "--values",
        str(file),
        "--values",
        "-",
        "--no-ha",
        "--set",
        "logLevel=debug",
        text="injection: {cpuRequest: 30m}",
    )
    assert settings(made) == {
        "ha": False,
        "logLevel": "debug",
        "injection": {"cpuRequest": "30m", "memoryRequest": "64Mi"},
    }
    config = yaml.safe_load(named(made, "ConfigMap")["meshctl-controller"]["data"]["controller.yaml"])
    assert (config["log_level"], config["injection"]["cpu_request"]) == ("debug", "30m")
    assert named(made, "Deployment")["meshctl-controller"]["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ("r.example:5000/mesh/meshctl", f"r.example:5000/mesh/meshctl:{VERSION}"),
        ("r.example:5000/mesh/meshctl:1.2", "r.example:5000/mesh/meshctl:1.2"),
        (f"meshctl@sha256:{'a' * 64}", f"meshctl@sha256:{'a' * 64}"),
    ],
)
def test_an_image_without_a_tag_has_that_of_the_version(given: str, image: str) -> None:
    made = installed("--image", given)
    assert controller(made)["image"] == image
    config = yaml.safe_load(named(made, "ConfigMap")["meshctl-controller"]["data"]["controller.yaml"])
    assert config["injection"]["image"] == image


def test_namespace_only_makes_nothing_of_the_whole_cluster_not_even_the_namespace() -> None:
    made = installed("--namespace-only", "--namespace", "shop")
    assert all(each["metadata"]["namespace"] == "shop" for each in made)
    assert settings(made) == {"namespaceOnly": True}


def test_certificates_can_be_provided() -> None:
    made = installed("--certificates", "provided", "--set", "webhook.certManager.enabled=true")
    assert named(made, "Certificate")["meshctl-webhook"]["spec"]["secretName"] == "meshctl-webhook-tls"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "podMonitor.intervl=3s"), "Error: podMonitor.intervl: unknown key; did you mean interval?"),
        (("--set", "ha"), "must be KEY=VALUE"),
        (("--values", "/does/not/exist"), "Error: /does/not/exist: No such file or directory"),
        (("--values", "-"), "Error: -: ha: given twice"),
        (("--image", "Not An Image"), "is not an image"),
        (("--namespace", "Mesh"), "is not a namespace's name"),
        (("--namespace-only",), "--namespace-only needs --namespace"),
        (("--certificates", "none"), "is not one of 'self', 'provided'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(arguments: tuple[str, ...], said: str) -> None:
    done = run("install", *arguments, text="ha: true\nha: true\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_without_a_cluster_upgrade_and_uninstall_say_so_and_write_nothing(tmp_path: Path) -> None:
    for command in ("upgrade", "uninstall"):
        done = run(command, "--kubeconfig", str(tmp_path / "none"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "Error: there is no kubeconfig at" in done.stderr
