"""TLS between applications is theirs: the sidecars pass its bytes, and see no more of it than the server's name."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.netns.mesh import Mesh, cluster_of
from tests.netns.namespace import run_here
from tests.netns.pod import APP_UID, CURL

GRPC, OPENSSL, HTTPS = 50443, 8443, 9443
NAME, ROUTED_NAME = "echo.example.test", "web.example.test"


@pytest.fixture(scope="module")
def identity(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with key.pem and cert.pem, self-made, for both names."""
    del mesh
    if not shutil.which("openssl"):
        pytest.skip("not installed: openssl")
    directory = tmp_path_factory.mktemp("tls")
    making = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},DNS:{ROUTED_NAME}"]
    run_here([*making, *subject, "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")])
    return directory


@pytest.fixture(scope="module")
def openssl(mesh: Mesh, identity: Path) -> list[str]:
    """The command that speaks TLS to the openssl server in the first pod, which answers each line reversed."""
    pod = mesh.pods[0]
    files = ("-cert", str(identity / "cert.pem"), "-key", str(identity / "key.pem"))
    server = pod.start("openssl", "s_server", "-accept", str(OPENSSL), *files, "-rev", "-quiet")
    pod.processes.callback(server.stop, expect=-15)
    pod.wait_for_port(OPENSSL)
    trusting = ["-CAfile", str(identity / "cert.pem"), "-verify_return_error", "-verify_hostname", NAME]
    return ["openssl", "s_client", "-connect", f"{pod.ipv4}:{OPENSSL}", *trusting, "-quiet"]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tls_is_verified_from_end_to_end_and_its_name_is_in_the_metrics(
    mesh: Mesh, openssl: list[str], version: str
) -> None:
    told = mesh.client.pod.namespace.run([*openssl, version, "-servername", NAME], APP_UID, "squid\nCLOSE\n")
    assert told == "diuqs\n"
    for meshed in (mesh.client, mesh.servers[0]):
        assert meshed.sidecar.metric("meshctl_tcp_open_total", authority=NAME) > 0


def test_tls_without_a_server_name_passes_too(mesh: Mesh, openssl: list[str]) -> None:
    told = mesh.client.pod.namespace.run([*openssl, "-noservername"], APP_UID, "squid\nCLOSE\n")
    assert told == "diuqs\n"


def test_a_route_may_go_by_the_server_name(mesh: Mesh, identity: Path) -> None:
    """The address leads nowhere; the name in the hello does."""
    for pod in mesh.pods[1:]:
        files = ("-cert", str(identity / "cert.pem"), "-key", str(identity / "key.pem"))
        server = pod.start("openssl", "s_server", "-accept", str(HTTPS), *files, "-www", "-quiet")
        pod.processes.callback(server.stop, expect=-15)
        pod.wait_for_port(HTTPS)
    service = mesh.service(HTTPS, mesh.pods[1:])
    mesh.name_service(service, ROUTED_NAME)
    nobody = mesh.pods[0]
    options = ("--cacert", str(identity / "cert.pem"), "--resolve", f"{ROUTED_NAME}:{HTTPS}:{nobody.ipv4}")
    for _ in range(4):
        page = mesh.client.pod.run(*CURL, *options, "--http1.1", f"https://{ROUTED_NAME}:{HTTPS}/")
        assert "Ciphers supported in s_server" in page
    assert mesh.client.sidecar.metric("meshctl_tcp_open_total", cluster=cluster_of(service)) == 4


def test_a_grpc_channel_with_tls_passes_untouched(mesh: Mesh, identity: Path, family: int) -> None:
    pod = mesh.pods[0]
    if not pod.namespace.listens(GRPC):
        for host in ["127.0.0.1"] + ["[::1]"] * mesh.network.ipv6:
            pod.start_python("tests.support.echo_server", f"{host}:{GRPC}", pod.name, f"tls={identity}")
        pod.wait_for_port(GRPC)
    target = f"[{pod.ipv6}]:{GRPC}" if family == 6 else f"{pod.ipv4}:{GRPC}"
    command = (sys.executable, "-m", "tests.netns.grpc_client", target, "20", NAME, str(identity / "cert.pem"))
    answer = json.loads(mesh.client.pod.run(*command))
    assert answer["servers"] == {"one": 20}
    assert answer["kinds"]["chat"] == ["one", "two", "three", "end"]
