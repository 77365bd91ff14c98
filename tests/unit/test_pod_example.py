"""deploy/examples/pod.yaml, a sidecar put in by hand: what it says is what the programs understand."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from injector.iptables import Interception
from meshctl.__main__ import cli
from meshctl.init_iptables import init_iptables
from proxy.admin.server import PATHS
from proxy.config import Config, load
from tests.support.manifests import POD_EXAMPLE, Document, Pod, documents, named, pods, variables
from tests.support.process import ROOT

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.fixture(scope="module")
def pod() -> Pod:
    (found,) = pods(documents(POD_EXAMPLE))
    return found


@pytest.fixture(scope="module")
def sidecar(pod: Pod) -> Document:
    return pod.containers["meshctl-proxy"]


def mounted(pod: Pod, sidecar: Document, path: str) -> str:
    """The content of a file that the sidecar sees at `path`, from its ConfigMap."""
    folder, _, name = path.rpartition("/")
    (volume,) = [mount["name"] for mount in sidecar["volumeMounts"] if mount["mountPath"] == folder]
    (source,) = [each["configMap"]["name"] for each in pod.spec["volumes"] if each["name"] == volume]
    data: dict[str, str] = named(documents(POD_EXAMPLE), "ConfigMap")[source]["data"]
    return data[name]


@pytest.fixture
def config_file(pod: Pod, sidecar: Document, tmp_path: Path) -> Path:
    command, option, path = sidecar["args"]
    assert (command, option) == ("proxy", "--config")
    file = tmp_path / "proxy.yaml"
    file.write_text(mounted(pod, sidecar, path))
    return file


@pytest.fixture
def config(config_file: Path) -> Config:
    return load(config_file)


def test_the_sidecars_configuration_passes_its_own_check(config_file: Path) -> None:
    done = CliRunner().invoke(cli, ["proxy", "--check", str(config_file)])
    assert done.exit_code == 0, done.output
    assert "no route leads here" not in done.output


def test_the_rules_lead_where_the_sidecar_listens(pod: Pod, config: Config) -> None:
    command, *arguments = pod.containers["meshctl-init"]["args"]
    assert cli.commands[command] is init_iptables
    rules: dict[str, Any] = click.Command.make_context(init_iptables, command, arguments).params
    ports = {each.intercept: int(str(each.address).rpartition(":")[2]) for each in config.listeners}
    assert ports == {"inbound": rules["inbound_port"], "outbound": rules["outbound_port"]}
    assert rules["admin_port"] == int(str(config.admin.address).rpartition(":")[2])


def test_the_rules_leave_out_the_user_that_the_sidecar_runs_as(sidecar: Document) -> None:
    assert sidecar["securityContext"]["runAsUser"] == Interception().proxy_uid


def test_the_init_container_has_the_two_capabilities_and_comes_first(pod: Pod) -> None:
    assert list(pod.containers) == ["meshctl-init", "meshctl-proxy", "web"]
    context = pod.containers["meshctl-init"]["securityContext"]
    assert context["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW"]
    assert context["runAsUser"] == 0


def test_the_sidecar_is_native_and_the_application_waits_for_it(sidecar: Document) -> None:
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["httpGet"]["path"] == "/ready"


def test_probes_and_scrapes_ask_pages_that_there_are_where_the_kubelet_can(
    pod: Pod, sidecar: Document, config: Config
) -> None:
    host, _, port = str(config.admin.address).rpartition(":")
    assert ip_address(host).is_unspecified
    for probe in (sidecar[name]["httpGet"] for name in PROBES):
        assert probe["port"] == int(port)
        assert PATHS[probe["path"]][0] == "GET"
    annotations = named(documents(POD_EXAMPLE), "Pod")[pod.name]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == port
    assert annotations["prometheus.io/path"] in PATHS


def test_the_pod_has_more_time_to_end_than_the_sidecar_takes(pod: Pod, config: Config) -> None:
    assert pod.spec["terminationGracePeriodSeconds"] > config.shutdown_grace_s


def test_the_routes_take_what_the_application_calls(pod: Pod, config: Config) -> None:
    called = variables(pod.containers["web"])
    assert {route.match.authority for route in config.routes} == {called["VOTING_ADDRESS"]}
    (cluster,) = config.clusters
    assert cluster.dns is not None
    assert f"{cluster.dns.name}:{cluster.dns.port}" == called["VOTING_ADDRESS"]


def test_the_page_shows_the_file_as_it_is() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    assert f"```yaml\n{POD_EXAMPLE.read_text()}```\n" in page
