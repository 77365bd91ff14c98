"""The harness itself: namespaces, pods, services and witnesses do what other tests rely on."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.netns.namespace import PREFIX, Namespace, run_here, sweep
from tests.netns.network import Network
from tests.netns.pod import PROXY_UID
from tests.support.waiting import wait_until


def test_a_service_goes_around_its_pods_by_connection(network: Network) -> None:
    client, *servers = (network.pod(name) for name in ("client", "one", "two"))
    for server in servers:
        server.start_witness(8080)
    service = network.service(80, servers, target_port=8080)
    answers = [client.ask(f"http://{service.ipv4}/") for _ in range(6)]
    assert Counter(answer["name"] for answer in answers) == {"one": 3, "two": 3}
    assert {answer["peer"] for answer in answers} == {client.ipv4}


def test_a_service_keeps_a_connection_at_one_pod(network: Network) -> None:
    client, *servers = (network.pod(name) for name in ("client", "one", "two"))
    service = network.service(8080, servers)
    server_command = [sys.executable, "-m", "http.server", "--protocol", "HTTP/1.1", "8080"]
    for server in servers:
        server.directory.joinpath("name").write_text(server.name)
        process = server.start(*server_command, "--directory", str(server.directory))
        server.wait_for_port(8080)
        server.processes.callback(process.stop, expect=-15)
    url = f"http://{service.ipv4}:8080/name"
    assert client.curl(url, url, url) in ("one" * 3, "two" * 3)


def test_ipv6_works_alike(network6: Network) -> None:
    client, *servers = (network6.pod(name) for name in ("client", "one", "two"))
    for server in servers:
        server.start_witness(8080)
    service = network6.service(80, servers, target_port=8080)
    assert client.namespace.run(["ip", "-6", "address", "show", "dev", "eth0", "scope", "global"]).count("nodad") == 1
    answers = [client.ask(f"http://[{service.ipv6}]/") for _ in range(4)]
    assert Counter(answer["name"] for answer in answers) == {"one": 2, "two": 2}
    assert {answer["peer"] for answer in answers} == {client.ipv6}


def test_pods_of_a_service_can_be_replaced(network: Network) -> None:
    client, one, two = (network.pod(name) for name in ("client", "one", "two"))
    one.start_witness(8080)
    two.start_witness(8080)
    service = network.service(8080, [one])
    assert client.ask(f"http://{service.ipv4}:8080/")["name"] == "one"
    network.set_pods(service, [two])
    assert {client.ask(f"http://{service.ipv4}:8080/")["name"] for _ in range(3)} == {"two"}
    network.set_pods(service, [])
    with pytest.raises(AssertionError, match="connect"):
        client.curl(f"http://{service.ipv4}:8080/")


def test_a_pod_reaches_itself_through_a_service(network: Network) -> None:
    pod = network.pod("alone")
    pod.start_witness(8080)
    service = network.service(8080, [pod])
    assert pod.ask(f"http://{service.ipv4}:8080/")["name"] == "alone"
    if network.ipv6:
        assert pod.ask(f"http://[{service.ipv6}]:8080/")["name"] == "alone"


def test_a_sidecar_runs_as_the_proxys_user_and_answers_inside_its_pod(network: Network) -> None:
    pod = network.pod("meshed")
    config = {
        "listeners": [{"name": "outbound", "address": "127.0.0.1:4140"}],
        "clusters": [{"name": "empty", "static": {"endpoints": []}}],
        "routes": [{"cluster": "empty"}],
    }
    sidecar = pod.sidecar(config)
    assert "Uid:\t" + "\t".join([str(PROXY_UID)] * 4) in Path(f"/proc/{sidecar.pid}/status").read_text()
    assert pod.namespace.listens(4140)
    assert pod.curl("http://127.0.0.1:4191/live")
    sidecar.stop()
    assert not pod.namespace.listens(4140)


@pytest.mark.usefixtures("namespaces")
def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Network(tmp_path) as network:
        pod = network.pod("short-lived")
        process = pod.start_witness(8080)
        stray = subprocess.Popen([*pod.namespace.place().prefix, "sleep", "60"])
        wait_until(lambda: stray.pid in pod.namespace.pids(), "the other process, in the namespace")
        raise KeyboardInterrupt
    assert process.exit_status is not None
    assert stray.wait(30) == -9
    assert f"{PREFIX}-{os.getpid()}-" not in run_here(["ip", "netns", "list"])


@pytest.mark.usefixtures("namespaces")
def test_what_a_killed_run_left_is_swept_and_what_runs_is_not() -> None:
    script = (
        "import os, subprocess, time\n"
        "from tests.netns.namespace import Namespace\n"
        "namespace = Namespace('left')\n"
        "subprocess.Popen([*namespace.place(1000).prefix, 'sleep', '60'])\n"
        "print(namespace.name, flush=True)\n"
        "time.sleep(60)\n"
    )
    with (
        Namespace("in-use") as used,
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run,
    ):
        assert run.stdout is not None
        left = run.stdout.readline().strip()
        assert left not in sweep()
        run.kill()
        run.wait()
        sweep()
        # Another run, beside this one, may be about to remove it just then.
        wait_until(lambda: left not in run_here(["ip", "netns", "list"]), f"the end of {left}")
        assert used.name in run_here(["ip", "netns", "list"])
