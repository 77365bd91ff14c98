"""The command line, run as a user runs it: what it prints, and its exit codes."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from meshctl.__main__ import GROUPS, cli
from tests.support.process import ROOT
from tests.unit.test_cluster import kubeconfig

UNIT = Path(__file__).parent


def meshctl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meshctl", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    content = (UNIT / "config_large.yaml").read_text()
    path = tmp_path / "wrong.yaml"
    path.write_text(content.replace("least_request", "most_request").replace("weight: 2", "weight: 0"))
    return path


@pytest.mark.parametrize("arguments", [["--config", "FILE", "--check"], ["--check", "FILE"], ["FILE", "--check"]])
def test_check_of_a_right_file_prints_a_summary(arguments: list[str]) -> None:
    path = str(UNIT / "config_large.yaml")
    done = meshctl("proxy", *(path if word == "FILE" else word for word in arguments))
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == f"""{path}: ok
admin: [::1]:4191
listeners: 5
  outbound    127.0.0.1:4140  http2
  outbound6   [::1]:0         http2
  redirected  127.0.0.1:4142  detect, intercepts outbound
  inbound     127.0.0.1:4143  detect, intercepts inbound
  raw         127.0.0.1:4144  tcp
clusters: 3
  voting         http2   least_request  static, 2 endpoints
  voting-canary  detect  peak_ewma      dns voting.emojivote.svc.cluster.local:8080
  database       tcp     peak_ewma      static, 0 endpoints
routes: 4
  voting.example:8080/emojivoto.v1.VotingService/Vote  ->  voting 90, voting-canary 10
  */static*                                            ->  voting-canary
  */* at redirected to 10.96.3.7:5432                  ->  database
  */*                                                  ->  voting
"""
    )


def test_check_points_out_a_cluster_that_no_route_leads_to(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text("""
listeners: [{name: a, address: "[::1]:4140"}]
clusters: [{name: used, static: {endpoints: []}}, {name: idle, dns: {name: x.test, port: 1}}]
routes: [{cluster: used}]
""")
    done = meshctl("proxy", "--check", str(path))
    assert done.returncode == 0
    assert "  used  http2  peak_ewma  static, 0 endpoints\n" in done.stdout
    assert "  idle  http2  peak_ewma  dns x.test:1 (no route leads here)\n" in done.stdout


def test_check_says_where_endpoints_come_from_and_who_is_asked_of_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text("""
listeners: [{name: a, address: "[::1]:4140"}]
clusters: [{name: voting, kubernetes: {service: voting, namespace: shop, port: grpc}}]
routes: [{cluster: voting}]
""")
    assert "  voting  http2  peak_ewma  kubernetes shop/voting:grpc\n" in meshctl("proxy", "--check", str(path)).stdout
    path.write_text("listeners: [{name: outbound, address: '127.0.0.1:4140', intercept: outbound}]")
    for mode, told in (("direct", "direct, the Kubernetes API"), ("controller", "controller mesh.svc:8086")):
        asked = {"MESHCTL_DISCOVERY_MODE": mode, "MESHCTL_DISCOVERY_NAMESPACE": "shop"}
        done = meshctl("proxy", "--check", str(path), **asked, MESHCTL_DISCOVERY_CONTROLLER="mesh.svc:8086")
        assert done.stdout.endswith(f"clusters: 0\nroutes: 0\ndiscovery: {told}\n"), done.stderr


def test_check_says_of_a_file_without_routes_that_all_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text("listeners: [{name: outbound, address: '127.0.0.1:4140', intercept: outbound}]")
    done = meshctl("proxy", "--check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("clusters: 0\nroutes: 0 (all passes through to where it was going)\n")


def test_check_of_a_wrong_file_prints_every_error_and_exits_with_2(wrong: Path) -> None:
    done = meshctl("proxy", "--check", str(wrong))
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{wrong}: clusters[0].balancer: must be one of peak_ewma, ")
    assert second == (f"{wrong}: clusters[0].static.endpoints[0].weight: must be a whole number from 1 to 1000, not 0")


def test_check_counts_the_environment() -> None:
    path = UNIT / "config_large.yaml"
    done = meshctl("proxy", "--check", str(path), MESHCTL_SHUTDOWN_GRACE_S="long")
    assert done.returncode == 2
    assert "shutdown_grace_s: " in done.stderr
    assert "(from MESHCTL_SHUTDOWN_GRACE_S)" in done.stderr


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    done = meshctl("proxy", "--check", str(path))
    assert done.returncode == 2
    assert done.stderr == f"{path}: file: cannot be read: No such file or directory\n"


def test_the_proxy_refuses_a_wrong_file_as_check_does(wrong: Path) -> None:
    run, checked = meshctl("proxy", "--config", str(wrong)), meshctl("proxy", "--check", str(wrong))
    assert run.returncode == checked.returncode == 2
    assert set(checked.stderr.splitlines()) <= set(run.stderr.splitlines())


@pytest.mark.parametrize("arguments", [[], ["--check"], ["--config", "a.yaml", "b.yaml"]])
def test_exactly_one_file_is_named(arguments: list[str]) -> None:
    done = meshctl("proxy", *arguments)
    assert done.returncode == 2
    assert "Name one configuration file: --config FILE, or FILE alone." in done.stderr


@pytest.mark.parametrize("arguments", [["prox"], ["proxy", "--chek"], ["demo", "now"]])
def test_wrong_usage_exits_with_2_and_says_where_help_is(arguments: list[str]) -> None:
    done = meshctl(*arguments)
    assert done.returncode == 2
    assert "--help" in done.stderr


def test_every_command_explains_itself() -> None:
    for command in ([], *([name] for name in cli.commands)):
        for option in ("--help", "-h"):
            shown = CliRunner().invoke(cli, [*command, option])
            assert shown.exit_code == 0
            for code in ("0", "2"):
                assert re.search(rf"(?m)^ +{code}  \w", shown.output), "exit codes have their lines"
    for subcommand in cli.commands.values():
        assert subcommand.help
        for parameter in subcommand.params:
            assert isinstance(parameter, click.Argument) or (isinstance(parameter, click.Option) and parameter.help)


def test_help_lists_every_command_once_and_cuts_no_sentence_short() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(cli.commands)
    shown = CliRunner().invoke(cli, ["--help"]).output
    assert "..." not in shown.partition("Options:")[2]
    assert [title for title in re.findall(r"(?m)^(\w.*):$", shown) if title != "Options"] == list(GROUPS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "-n", "../shop"], "'../shop' is not a namespace's name"),
        (["upgrade", "--namespace", "Mesh"], "'Mesh' is not a namespace's name"),
        (["endpoints", "a:1", "--controller-namespace", ""], "'' is not a namespace's name"),
        (["metrics", "a/b/c"], "'a/b/c' is not a pod's name"),
        (["endpoints", "--pod", "../../nodes"], "'../../nodes' is not a pod's name"),
        (["metrics", "x" * 254], "is not a pod's name"),
        (["endpoints", ""], "Name an AUTHORITY"),
        (["check", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["metrics", "a", "--interval", "nan"], "'nan' is not a number of seconds"),
        (["await", "--timeout", "inf"], "'inf' is not a number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_cluster_is_looked_for(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(cli, arguments, env={"KUBECONFIG": "/does/not/exist"})
    assert refused.exit_code == 2
    assert said in refused.output


@pytest.mark.parametrize("name", ["web", "web-5d4f-x2x9q", "shop/web-0", "shop/web.example", "shop/" + "x" * 63])
def test_a_pod_is_named_with_or_without_its_namespace(name: str) -> None:
    refused = CliRunner().invoke(cli, ["metrics", name], env={"KUBECONFIG": "/does/not/exist"})
    assert "there is no kubeconfig at /does/not/exist" in refused.output


@pytest.mark.parametrize("command", [["await", "--address", "ADDRESS"], ["check"], ["metrics", "web"]])
def test_an_interrupted_command_exits_with_130(tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        words = [f"127.0.0.1:{port}" if word == "ADDRESS" else word for word in command]
        environment = {**os.environ, "KUBECONFIG": kubeconfig(tmp_path / "kubeconfig", port)}
        running = subprocess.Popen(
            [sys.executable, "-m", "meshctl", *words], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        try:
            silent.settimeout(20)
            with silent.accept()[0]:  # now it waits for an answer
                running.send_signal(signal.SIGINT)
                assert running.communicate(timeout=20) == (None, "")
        finally:
            running.kill()
    assert running.returncode == 130


@pytest.mark.parametrize("command", [["install"], ["proxy", "--check", "tests/unit/config_large.yaml"]])
def test_a_full_disk_is_named_and_a_reader_that_left_is_not_mourned(command: list[str]) -> None:
    words = [sys.executable, "-m", "meshctl", *command]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (1, "Error: the output cannot be written: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(words, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_version_names_itself_and_python() -> None:
    done = meshctl("version")
    assert done.returncode == 0
    assert re.fullmatch(rf"meshctl .+, Python {re.escape(sys.version.split()[0])}\n", done.stdout)
    assert done.stdout.startswith(f"{meshctl('--version').stdout.strip()}, ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_for_the_shells_click_knows(shell: str) -> None:
    script = CliRunner().invoke(cli, [], prog_name="meshctl", env={"_MESHCTL_COMPLETE": f"{shell}_source"})
    assert script.exit_code == 0
    assert "_MESHCTL_COMPLETE" in script.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_command_prints_the_same_script(shell: str) -> None:
    script = CliRunner().invoke(cli, [], prog_name="meshctl", env={"_MESHCTL_COMPLETE": f"{shell}_source"})
    done = meshctl("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == script.output.strip()


def test_bash_takes_the_completion_script() -> None:
    script = f"source <({sys.executable} -m meshctl completion bash) && complete -p meshctl"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("meshctl\n")


def test_completion_knows_commands_and_options() -> None:
    environment = {"_MESHCTL_COMPLETE": "bash_complete", "COMP_WORDS": "meshctl proxy --", "COMP_CWORD": "2"}
    done = meshctl(**environment)
    assert done.returncode == 0
    assert {"plain,--config", "plain,--check"} <= set(done.stdout.split())


def test_help_and_check_import_neither_the_data_plane_nor_the_demo() -> None:
    program = (
        "import sys\n"
        "from meshctl.__main__ import cli\n"
        "cli(sys.argv[1:], standalone_mode=False)\n"
        "costly = {'proxy.app', 'proxy.dataplane', 'meshctl.demo', 'grpc', 'rich', 'dns', 'ruamel'}\n"
        "assert not costly & set(sys.modules), costly & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, "--help"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("missing", ["aiohttp", "kubernetes_asyncio"])
@pytest.mark.parametrize("command", [["check"], ["endpoints", "a:1"], ["metrics", "a"], ["version", "--cluster"]])
def test_without_the_kubernetes_extra_a_command_says_which(tmp_path: Path, missing: str, command: list[str]) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    program = (
        "import importlib.util, sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name.startswith({missing!r}) else find(name, *rest)\n"
        "from meshctl.__main__ import cli\n"
        "cli(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command, "--kubeconfig", str(kubeconfig)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert missing in done.stderr
    assert "pip install 'meshctl-proxy[kubernetes]'" in done.stderr
