"""HTTP/1.x, TLS and plain bytes through a proxy that detects them: what it tells of each."""

import http.client
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import split_address
from tests.support.process import ProxyProcess, start_proxy
from tests.support.waiting import PATIENCE_S, wait_until

PAGE = b"a page\n"


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/page" else 500)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@dataclass(frozen=True, slots=True)
class Scene:
    proxy: ProxyProcess
    config: Mapping[str, Any]
    web: str
    echo: str
    log: Path

    def logged(self, protocol: str) -> list[dict[str, Any]]:
        whole, _, _ = self.log.read_text().rpartition("\n") if self.log.exists() else ("", "", "")
        return [entry for entry in map(json.loads, whole.splitlines()) if entry["protocol"] == protocol]

    def get(self, *paths: str) -> list[int]:
        """The statuses of requests for these paths, on one connection."""
        with closing(
            http.client.HTTPConnection(*split_address(self.proxy.listener("web")), timeout=PATIENCE_S)
        ) as connection:
            statuses = []
            for path in paths:
                connection.request("GET", path, headers={"Host": "web.example"})
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            return statuses

    def echoed(self, data: bytes, listener: str = "bytes") -> bytes:
        """What comes back for `data`; then both sides have sent FIN."""
        received = b""
        with socket.create_connection(split_address(self.proxy.listener(listener)), timeout=PATIENCE_S) as connection:
            connection.sendall(data)
            while len(received) < len(data):
                part = connection.recv(65536)
                assert part, f"{received!r} is all that came back"
                received += part
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        return received

    def wait_for(self, value: float, name: str, **labels: str) -> None:
        self.proxy.wait_until(lambda: self.proxy.metric(name, **labels) == value, f"{name} of {labels} to be {value}")


@contextmanager
def running(server: socketserver.TCPServer) -> Iterator[str]:
    """The address of `server`, which serves on a thread of its own."""
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield "{}:{}".format(*server.server_address)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        web = stack.enter_context(running(ThreadingHTTPServer(("127.0.0.1", 0), Page)))
        echo = stack.enter_context(running(EchoServer(("127.0.0.1", 0), Echo)))
        log = tmp_path / "access.log"
        config = {
            "listeners": [{"name": "web", "protocol": "detect"}, {"name": "bytes", "protocol": "detect"}],
            "clusters": [
                {"name": "web", "protocol": "detect", "static": {"endpoints": [{"address": web, "pod": "web-1"}]}},
                {"name": "echo", "protocol": "detect", "static": {"endpoints": [{"address": echo, "pod": "echo-1"}]}},
            ],
            "routes": [
                {"match": {"listener": "web"}, "cluster": "web"},
                {"match": {"listener": "bytes"}, "cluster": "echo"},
            ],
            "limits": {"detect_timeout_s": 0.5},
            "access_log": {"path": str(log)},
        }
        proxy = stack.enter_context(start_proxy(config, tmp_path))
        yield Scene(proxy, config, web, echo, log)


def client_hello(name: str) -> bytes:
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_requests_of_http1(scene: Scene) -> None:
    assert scene.get("/page", "/page", "/broken") == [200, 200, 500]
    labels = {"authority": "web.example", "cluster": "web", "endpoint": scene.web, "pod": "web-1", "protocol": "http1"}
    scene.wait_for(3, "meshctl_request_total", **labels)
    metric = scene.proxy.metric
    assert metric("meshctl_response_total", **labels, classification="success", http_status="200") == 2
    assert metric("meshctl_response_total", **labels, classification="failure", http_status="500") == 1
    assert metric("meshctl_bytes_total", **labels, direction="response") == 3 * len(PAGE)
    assert metric("meshctl_tcp_open_total") == 0
    assert metric("meshctl_detected_connections_total", listener="web", protocol="http1") == 1
    wait_until(lambda: len(scene.logged("http1")) == 3, "three entries of the access log")
    entry = scene.logged("http1")[0]
    assert (entry["method"], entry["path"], entry["http_status"], entry["pod"]) == ("GET", "/page", 200, "web-1")


def test_tls_and_bytes(scene: Scene) -> None:
    hello = client_hello("db.example")
    assert scene.echoed(hello) == hello
    assert scene.echoed(b"\x00bytes") == b"\x00bytes"
    for authority, size in (("db.example", len(hello)), ("", 6)):
        labels = {"authority": authority, "cluster": "echo", "endpoint": scene.echo, "pod": "echo-1"}
        scene.wait_for(1, "meshctl_tcp_close_total", **labels, classification="success", flag="")
        metric = scene.proxy.metric
        assert metric("meshctl_tcp_open_total", **labels) == 1
        assert metric("meshctl_tcp_connections", **labels) == 0
        assert metric("meshctl_tcp_connect_seconds_count", **labels) == 1
        assert metric("meshctl_tcp_connection_seconds_count", **labels) == 1
        assert metric("meshctl_tcp_bytes_total", **labels, direction="request") == size
        assert metric("meshctl_tcp_bytes_total", **labels, direction="response") == size
    assert scene.proxy.metric("meshctl_request_total") == 0
    assert scene.proxy.metric("meshctl_detected_connections_total", listener="bytes", protocol="tls") == 1
    assert scene.proxy.metric("meshctl_detected_connections_total", listener="bytes", protocol="tcp") == 1
    wait_until(lambda: len(scene.logged("tcp")) == 2, "two entries of the access log")
    entry = scene.logged("tcp")[0]
    assert (entry["authority"], entry["method"], entry["path"]) == ("db.example", "", "")
    assert (entry["http_status"], entry["classification"], entry["request_bytes"]) == (0, "success", len(hello))
    assert 0 < entry["headers_ms"] <= entry["duration_ms"]


def test_an_open_connection_is_shown_until_it_ends(scene: Scene) -> None:
    with socket.create_connection(split_address(scene.proxy.listener("bytes")), timeout=PATIENCE_S) as connection:
        connection.sendall(b"\x00")
        assert connection.recv(1) == b"\x00"
        assert scene.proxy.metric("meshctl_tcp_connections", pod="echo-1") == 1
        assert scene.proxy.metric("meshctl_endpoint_connections", pod="echo-1", protocol="tcp") == 1
        assert scene.proxy.metric("meshctl_tcp_close_total") == 0
    scene.wait_for(0, "meshctl_tcp_connections", pod="echo-1")


def test_what_was_not_detected(scene: Scene) -> None:
    def counted(name: str, listener: str, **labels: str) -> float:
        return scene.proxy.metric(name, listener=listener, **labels)

    def closed_in_time() -> bool:
        """Whether a connection was closed before it was given up, which a slow machine may be too slow for."""
        socket.create_connection(split_address(scene.proxy.listener("bytes")), timeout=PATIENCE_S).close()
        scene.wait_for(0, "meshctl_downstream_connections")
        return counted("meshctl_detected_connections_total", "bytes", protocol="none") == 1

    wait_until(closed_in_time, "a connection that was closed before a byte")
    timeouts = counted("meshctl_detection_timeouts_total", "bytes")
    tcp = counted("meshctl_detected_connections_total", "bytes", protocol="tcp")
    # It could become a request, and never does.
    assert scene.echoed(b"GET") == b"GET"
    assert counted("meshctl_detection_timeouts_total", "bytes") == timeouts + 1
    assert counted("meshctl_detection_timeouts_total", "web") == 0
    assert counted("meshctl_detected_connections_total", "bytes", protocol="tcp") == tcp + 1


def test_an_endpoint_that_refuses(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        address = "{}:{}".format(*closed.getsockname())
        config = {
            "listeners": [{"name": "bytes", "protocol": "tcp"}],
            "clusters": [
                {"name": "gone", "protocol": "tcp", "failfast_s": 0.1, "static": {"endpoints": [{"address": address}]}}
            ],
            "routes": [{"cluster": "gone"}],
        }
        with start_proxy(config, tmp_path) as proxy:
            with (
                socket.create_connection(split_address(proxy.listener("bytes")), timeout=PATIENCE_S) as connection,
                pytest.raises(ConnectionResetError),
            ):
                connection.recv(1)
            proxy.wait_until(
                lambda: proxy.metric("meshctl_tcp_close_total", classification="failure") == 1, "a failure"
            )
            labels = {"classification": "retried", "flag": "connect_failed", "endpoint": address}
            assert proxy.metric("meshctl_tcp_close_total", **labels) == 1
            assert proxy.metric("meshctl_tcp_open_total") == 2
            assert proxy.metric("meshctl_tcp_connect_seconds_count") == 0
            assert proxy.metric("meshctl_endpoint_ready", endpoint=address, protocol="tcp") == 0


def test_a_connection_that_began_while_the_log_was_off(scene: Scene) -> None:
    """The log says when it began all the same."""

    def reload(settings: Mapping[str, Any], times: int) -> None:
        scene.proxy.configure(settings)
        scene.wait_for(times, "meshctl_config_reloads_total", result="success")

    reload({key: value for key, value in scene.config.items() if key != "access_log"}, 1)
    with socket.create_connection(split_address(scene.proxy.listener("bytes")), timeout=PATIENCE_S) as connection:
        connection.sendall(b"\x00")
        assert connection.recv(1) == b"\x00"
        reload(scene.config, 2)
    wait_until(lambda: scene.logged("tcp"), "the entry of the access log")
    (entry,) = scene.logged("tcp")
    age = datetime.now(UTC) - datetime.fromisoformat(entry["time"])
    assert timedelta(milliseconds=entry["duration_ms"] - 1) <= age < timedelta(minutes=5)


def test_endpoints_by_cluster_and_protocol(scene: Scene) -> None:
    assert scene.get("/page") == [200]
    assert scene.echoed(b"\x00") == b"\x00"
    shown = scene.proxy.endpoints()
    names = {key: (cluster["name"], cluster["protocol"]) for key, cluster in shown.items()}
    assert names == {"web http1": ("web", "http1"), "echo tcp": ("echo", "tcp")}
    (endpoint,) = shown["web http1"]["endpoints"]
    assert (endpoint["address"], endpoint["pod"], endpoint["calls"]) == (scene.web, "web-1", 1)
