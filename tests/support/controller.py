"""The controller as tests run it: `python -m injector` with a configuration of its own, and an API server to follow."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.echo import EchoServer
from tests.support.kubernetes_objects import Object, endpoint, endpoint_slice
from tests.support.ports import accepts, free_address, split_address
from tests.support.process import Process


class ControllerProcess(Process):
    """A running controller without a webhook. `endpoints` and `admin` are where it serves."""

    def __init__(self, kubeconfig: Path, directory: Path, endpoints: str | None = None, **settings: Any) -> None:
        self.endpoints = endpoints or free_address()
        self.admin = free_address()
        config = {
            "kubernetes": {"kubeconfig": str(kubeconfig)},
            "webhook": {"enabled": False},
            "endpoints": {"address": self.endpoints},
            "admin": {"address": self.admin},
            "injection": {"image": "meshctl:test"},
            **settings,
        }
        path = directory / f"controller-{split_address(self.admin)[1]}.yaml"
        path.write_text(yaml.safe_dump(config))
        super().__init__((sys.executable, "-m", "injector", "--config", str(path)), "the controller")

    def wait_until_serving(self) -> None:
        self.wait_until(lambda: accepts(self.endpoints), "serves endpoints", 20)


def pods(*servers: EchoServer, **state: Any) -> Sequence[Object]:
    """A slice of the Service "voting" for each server, since each has a port of its own."""
    slices = []
    for server in servers:
        host, port = split_address(server.address)
        one = endpoint(host, server.name.removeprefix("server "), **state)
        slices.append(endpoint_slice(f"slice-{port}", one, ports=[{"name": "grpc", "port": port}]))
    return slices
