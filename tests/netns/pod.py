"""A network namespace that plays a pod: its addresses, its processes, its interception, its sidecar.

Processes are those of `tests.support.process` and end with the network the pod belongs to: each must then stop on
SIGTERM with exit status 0, unless the test has ended it itself.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.netns.namespace import ROOT_UID, Namespace
from tests.support.process import Process, ProxyProcess, start_proxy
from tests.support.waiting import wait_until

APP_UID = 1000
PROXY_UID = 2102
ADMIN_ADDRESS = "127.0.0.1:4191"
CURL = ("curl", "--silent", "--show-error", "--globoff", "--noproxy", "*", "--max-time", "30")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. `processes` owns what was started in it; `directory` is for its files."""

    name: str
    ipv4: str
    ipv6: str
    namespace: Namespace
    directory: Path
    processes: ExitStack = field(default_factory=ExitStack)

    def start(self, *command: str, uid: int = APP_UID, env: Mapping[str, str] | None = None) -> Process:
        """Starts a command that goes on running."""
        name = f"{command[0]} in pod {self.name}"
        return self.processes.enter_context(Process(command, name, env, self.namespace.place(uid)))

    def start_python(self, module: str, *arguments: str, uid: int = APP_UID) -> Process:
        """Starts `python -m module`."""
        return self.start(sys.executable, "-m", module, *arguments, uid=uid)

    def start_witness(self, *ports: int, uid: int = APP_UID) -> Process:
        """Starts a `tests.netns.witness` named like the pod and waits until it listens on all `ports`."""
        process = self.start_python("tests.netns.witness", self.name, *map(str, ports), uid=uid)
        process.wait_until(lambda: all(map(self.namespace.listens, ports)), f"listening on {ports}")
        return process

    def sidecar(self, config: Mapping[str, Any]) -> ProxyProcess:
        """Starts the proxy on `config` as the proxy's user and waits until it is ready.

        The admin port is the usual one unless `config` says otherwise; listeners must have their addresses.
        """
        whole = {"admin": {"address": ADMIN_ADDRESS}, **config}
        proxy = start_proxy(whole, self.directory, place=self.namespace.place(PROXY_UID))
        return self.processes.enter_context(proxy)

    def intercept(self, *options: str) -> str:
        """Runs `meshctl init-iptables` as the pod's init container would; returns what it says."""
        return self.run(sys.executable, "-m", "meshctl", "init-iptables", *options, uid=ROOT_UID)

    def run(self, *command: str, uid: int = APP_UID) -> str:
        """Runs a command to its end and returns its stdout; AssertionError unless it exits with 0."""
        return self.namespace.run(command, uid)

    def curl(self, url: str, *options: str, uid: int = APP_UID) -> str:
        """The body of the response to a request from the pod; AssertionError when there is none."""
        return self.run(*CURL, *options, url, uid=uid)

    def ask(self, url: str, uid: int = APP_UID) -> Any:
        """What a witness answers to a request from the pod."""
        return json.loads(self.curl(url, uid=uid))

    def wait_for_port(self, port: int, timeout_s: float = 30) -> None:
        """Returns when something listens on `port`; nothing connects to it for that."""
        wait_until(lambda: self.namespace.listens(port), f"a listener on port {port} of {self.name}", timeout_s)
