"""HTTP/1.x between pods: requests are balanced one by one, and what programs say arrives as it was said."""

import json
import shutil
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.netns.mesh import Mesh
from tests.netns.network import Service
from tests.netns.pod import CURL

PORT, NGINX, RAW = 8080, 8081, 8082
TIMEOUT_S = 30
NGINX_CONFIG = """
user root;
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {port};
        root {directory};
        location = /drop {{ return 444; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def web(mesh: Mesh) -> Service:
    """aiohttp servers in the three server pods, and their service."""
    pytest.importorskip("aiohttp")
    for pod in mesh.pods:
        pod.start_python("tests.netns.http1_server", str(PORT), pod.name)
    for pod in mesh.pods:
        pod.wait_for_port(PORT)
    return mesh.service(PORT)


def url(service: Service, family: int, path: str = "/") -> str:
    return f"http://{f'[{service.ipv6}]' if family == 6 else service.ipv4}:{service.port}{path}"


def client(mesh: Mesh, *arguments: str) -> Any:
    return json.loads(mesh.client.pod.run(sys.executable, "-m", "tests.netns.http1_client", *arguments))


def test_the_requests_of_one_curl_are_spread_over_the_pods(mesh: Mesh, web: Service, family: int) -> None:
    where = url(web, family)
    told = mesh.client.pod.run(*CURL, "--write-out", "%{num_connects}\n", *[where] * 9)
    answers = Counter(told.split())
    assert answers.pop("1") == 1  # one connection, for the first request
    assert answers.pop("0") == 8
    assert answers == {"one": 3, "two": 3, "three": 3}


def test_the_requests_of_a_kept_connection_are_spread_over_the_pods(mesh: Mesh, web: Service, family: int) -> None:
    answers = client(mesh, "requests", url(web, family), "30")
    assert answers == {"one": 10, "two": 10, "three": 10}


@pytest.mark.parametrize("length", [0, 1, 3_000_000])
def test_chunked_bodies_pass_both_ways(mesh: Mesh, web: Service, length: int) -> None:
    answer = client(mesh, "echo", url(web, 4, "/echo"), str(length))
    assert answer == {"status": 200, "chunked": "chunked", "same": True}


def test_a_large_post_waits_for_100_continue(mesh: Mesh, web: Service) -> None:
    body = mesh.client.pod.directory / "body"
    body.write_bytes(b"0123456789" * 300_000)
    got = mesh.client.pod.directory / "got"
    got.touch()
    got.chmod(0o666)
    options = ("--verbose", "--stderr", "-", "--expect100-timeout", "20", "--header", "expect: 100-continue")
    sending = ("--data-binary", f"@{body}", "--output", str(got), "--write-out", "\n%{time_total}")
    told = mesh.client.pod.curl(url(web, 4, "/echo?length"), *options, *sending)
    assert "< HTTP/1.1 100 Continue" in told
    assert got.read_bytes() == body.read_bytes()
    assert float(told.splitlines()[-1]) < 20  # it did not give up waiting


def test_head_has_no_body_and_its_connection_goes_on(mesh: Mesh, web: Service) -> None:
    with mesh.client.pod.namespace.entered():
        connected = socket.create_connection((web.ipv4, PORT), TIMEOUT_S)
    with connected:
        for method in (b"HEAD", b"GET", b"HEAD"):
            connected.sendall(b"%s / HTTP/1.1\r\nhost: web\r\n\r\n" % method)
            head, body = read_response(connected, has_body=method == b"GET")
            assert head.startswith(b"HTTP/1.1 200")
            assert (body == b"") is (method == b"HEAD")


def test_pipelined_requests_are_answered_in_order(mesh: Mesh, web: Service) -> None:
    with mesh.client.pod.namespace.entered():
        connected = socket.create_connection((web.ipv4, PORT), TIMEOUT_S)
    bodies = [b"%d" % number * 10 for number in range(12)]
    request = b"POST /echo?length HTTP/1.1\r\nhost: web\r\ncontent-length: %d\r\n\r\n%b"
    with connected:
        connected.sendall(b"".join(request % (len(body), body) for body in bodies))
        answers = [read_response(connected) for _ in bodies]
    assert [body for _, body in answers] == bodies
    servers = Counter(head.lower().partition(b"server-name: ")[2].split()[0].decode() for head, _ in answers)
    assert servers == {"one": 4, "two": 4, "three": 4}


def read_response(connected: socket.socket, has_body: bool = True) -> tuple[bytes, bytes]:
    """(head, body) of the next response, whose length is given."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += read_some(connected, 1)
    length = int(data.lower().partition(b"content-length: ")[2].split()[0]) if has_body else 0
    body = b""
    while len(body) < length:
        body += read_some(connected, length - len(body))
    return data, body


def read_some(connected: socket.socket, most: int) -> bytes:
    data = connected.recv(most)
    assert data, "closed before the end of the response"
    return data


def test_trailers_pass_both_ways(mesh: Mesh) -> None:
    """Neither curl nor aiohttp shows trailers, so both ends are bytes on sockets."""
    request = (
        b"POST / HTTP/1.1\r\nhost: raw\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
        b"5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"
    )
    response = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n3\r\nbye\r\n0\r\nx-end: yes\r\n\r\n"
    )
    pod = mesh.pods[0]
    with pod.namespace.entered():
        listener = socket.create_server(("0.0.0.0", RAW))
    with mesh.client.pod.namespace.entered():
        connected = socket.create_connection((pod.ipv4, RAW), TIMEOUT_S)
    with listener, connected:
        listener.settimeout(TIMEOUT_S)
        connected.sendall(request)
        accepted, _ = listener.accept()
        accepted.settimeout(TIMEOUT_S)
        with accepted:
            got = read_to(accepted, b"x-sum: 5\r\n\r\n")
            assert b"hello" in got
            accepted.sendall(response)
            assert b"bye" in read_to(connected, b"x-end: yes\r\n\r\n")


def read_to(connected: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        data += read_some(connected, 1 << 16)
    return data


def test_websocket(mesh: Mesh, web: Service, family: int) -> None:
    answer = client(mesh, "socket", url(web, family, "/socket"))
    assert answer == {"heard": [True, True, True], "closed": 4000, "why": "as asked"}


def test_connect_is_a_tunnel_through_a_proxy_that_listens_in_a_pod(mesh: Mesh) -> None:
    """An application's own HTTP proxy; the bytes that follow its answer are nobody's but the client's."""
    pod = mesh.pods[1]
    with pod.namespace.entered():
        listener = socket.create_server(("0.0.0.0", RAW))
    with mesh.client.pod.namespace.entered():
        connected = socket.create_connection((pod.ipv4, RAW), TIMEOUT_S)
    with listener, connected:
        listener.settimeout(TIMEOUT_S)
        connected.sendall(b"CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n")
        accepted, _ = listener.accept()
        accepted.settimeout(TIMEOUT_S)
        with accepted:
            assert read_to(accepted, b"\r\n\r\n").startswith(b"CONNECT db.example:5432 HTTP/1.1\r\n")
            accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n\x00first")
            assert read_to(connected, b"\x00first").endswith(b"\r\n\r\n\x00first")
            connected.sendall(b"\x16\x03\x01 not HTTP")
            assert read_to(accepted, b"not HTTP") == b"\x16\x03\x01 not HTTP"
            connected.shutdown(socket.SHUT_WR)
            assert accepted.recv(1) == b""
            accepted.sendall(b"still here")
            assert read_to(connected, b"still here")


@pytest.fixture(scope="module")
def nginx(mesh: Mesh) -> str:
    """The URL of an nginx in the third server pod."""
    if not shutil.which("nginx"):
        pytest.skip("not installed: nginx")
    pod = mesh.pods[2]
    directory = pod.directory
    config = directory / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(directory=directory, port=NGINX))
    Path(directory, "file").write_bytes(bytes(range(256)) * 8000)
    pod.start("nginx", "-c", str(config), "-e", "stderr", uid=0)
    pod.wait_for_port(NGINX)
    return f"http://{pod.ipv4}:{NGINX}"


def test_nginx_serves_files_ranges_and_conditions(mesh: Mesh, nginx: str) -> None:
    pod = mesh.client.pod
    got = pod.directory / "file"
    pod.run(*CURL, "--output", str(got), f"{nginx}/file", uid=0)
    assert got.read_bytes() == bytes(range(256)) * 8000
    told = pod.curl(f"{nginx}/file", "--range", "65-67", "--write-out", " %{http_code}")
    assert told == "ABC 206"
    options = ("--output", "/dev/null", "--write-out", "%{http_code}")
    tag = pod.curl(f"{nginx}/file", "--head").lower().partition("etag: ")[2].split()[0]
    assert pod.curl(f"{nginx}/file", *options, "--header", f"if-none-match: {tag}") == "304"


def test_nginx_that_hangs_up_is_a_502_to_its_caller(mesh: Mesh, nginx: str) -> None:
    told = mesh.client.pod.curl(f"{nginx}/drop", "--include")
    assert told.startswith("HTTP/1.1 502")
    assert "x-mesh-error: upstream_lost" in told
