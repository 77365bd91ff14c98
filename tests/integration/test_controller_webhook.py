"""The controller's process with its webhook: how it starts, and how it ends."""

import http.client
import json
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kubernetes_server import KubernetesServer
from tests.support.ports import free_address, split_address
from tests.support.process import Process
from tests.support.waiting import PATIENCE_S, unless_later_than, wait_until
from tests.unit.controller.stage import SERVER_NAME, configuration, namespace, pod, review, trusting

LATE_S = 5.0  # injector/app.py


class WebhookProcess(Process):
    """A controller. `webhook` and `admin` are where it serves."""

    def __init__(self, server: KubernetesServer, directory: Path, **settings: Any) -> None:
        self._server = server
        self.webhook, self.admin = free_address(), free_address()
        config = {
            "kubernetes": {"kubeconfig": str(server.kubeconfig(directory))},
            "webhook": {"address": self.webhook},
            "endpoints": {"address": free_address()},
            "admin": {"address": self.admin},
            "injection": {"image": "meshctl:test"},
            **settings,
        }
        path = directory / "controller.yaml"
        path.write_text(yaml.safe_dump(config))
        environment = {"MESHCTL_NAMESPACE": "meshctl", "MESHCTL_POD_NAME": "controller-0"}
        super().__init__((sys.executable, "-m", "injector", f"--config={path}"), "the controller", environment)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*split_address(self.admin), timeout=PATIENCE_S)
        connection.request("GET", path)
        response = connection.getresponse()
        found = response.status, response.read().decode()
        connection.close()
        return found

    def ready(self) -> int:
        try:
            return self.get("/ready")[0]
        except OSError:
            return 0

    def injects(self) -> bool:
        """Whether a pod gets a sidecar, on a new connection."""
        host, port = split_address(self.webhook)
        connection = _Tls(host, port, trusting(self._server))
        connection.request("POST", "/inject", json.dumps(review(pod())), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status == 200 and "patch" in answer["response"]


class _Tls(http.client.HTTPSConnection):
    """Goes to an address, and checks the Service's name."""

    def __init__(self, host: str, port: int, trusted: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=PATIENCE_S, context=trusted)
        self._trusted = trusted

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._trusted.wrap_socket(self.sock, server_hostname=SERVER_NAME)


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with KubernetesServer() as running:
        running.put(configuration(), namespace("shop", inject="enabled"))
        yield running


def lease_holder(server: KubernetesServer) -> str:
    held = server.find("leases", "meshctl-controller", "meshctl")
    return "" if held is None else str(held["spec"]["holderIdentity"])


def test_it_starts_serves_and_drains(server: KubernetesServer, tmp_path: Path) -> None:
    with WebhookProcess(server, tmp_path) as controller:
        controller.wait_until(lambda: controller.ready() == 200, "ready")
        assert controller.injects()
        assert lease_holder(server).startswith("controller-0_")
        told_s = time.monotonic()
        controller.terminate()
        with unless_later_than(told_s + LATE_S, OSError, http.client.HTTPException):
            wait_until(lambda: controller.ready() != 200, "no longer ready")
            assert controller.get("/ready") == (503, "shutting down\n")
            assert controller.injects(), "who has not heard of its end is served still"
        wait_until(lambda: lease_holder(server) == "", "the lease is given back")
        assert controller.wait() == 0
        assert "Traceback" not in controller.stderr()


def test_a_second_sigterm_ends_it_at_once(server: KubernetesServer, tmp_path: Path) -> None:
    def end_took_s() -> float:
        with WebhookProcess(server, tmp_path) as controller:
            controller.wait_until(lambda: controller.ready() == 200, "ready")
            told_s = time.monotonic()
            controller.terminate()
            wait_until(lambda: controller.ready() != 200, "no longer ready")
            if controller.running:
                controller.signal(signal.SIGTERM)
            assert controller.wait() == 0
            return time.monotonic() - told_s

    # Once is enough: where it waits, it waits every time.
    assert any(end_took_s() < LATE_S for _ in range(3))


def test_without_an_api_server_it_lives_and_is_not_ready(server: KubernetesServer, tmp_path: Path) -> None:
    server.stop()
    with WebhookProcess(server, tmp_path) as controller:
        controller.wait_until(lambda: controller.ready() == 503, "up")
        assert controller.get("/live")[0] == 200
        server.start()
        controller.wait_until(lambda: controller.ready() == 200, "ready once there is one", 60)
        assert controller.injects()
        controller.terminate()
        controller.signal(signal.SIGTERM)
        assert controller.wait() == 0


@pytest.mark.parametrize("part", ["webhook", "admin"])
def test_a_port_that_is_taken_ends_it_with_an_error(server: KubernetesServer, tmp_path: Path, part: str) -> None:
    taken = f"127.0.0.1:{server.port}"
    controller = WebhookProcess(server, tmp_path, **{part: {"address": taken}})
    try:
        assert controller.wait() == 1
        assert f"cannot listen on {taken}: Address already in use" in controller.stderr()
    finally:
        controller.close()
