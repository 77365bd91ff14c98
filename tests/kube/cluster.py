"""A Kubernetes control plane for tests: etcd, the API server and the controller manager, as processes.

Everything is as in a real cluster, but small: TLS with an authority of its own, RBAC, service accounts with signed
tokens, native admission with webhooks. There are no nodes: a Pod gets a status only by whoever plays its kubelet. Each
part can be killed and started again at the same address, with what it had stored. `place` is where they run: here, on
loopback, or in a network namespace, on an address of its own.
"""

import contextlib
import http.client
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kube.api import Access, Api, RefusedError
from tests.kube.certificates import Authority, Pair, write_key
from tests.kube.programs import Programs
from tests.support.ports import free_port
from tests.support.process import HERE, ROOT, Place, Process

DOMAIN = "cluster.local"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"
API_SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}")
LOOPBACK = "127.0.0.1"
START_S = 60  # seconds that each part may take on a busy machine; it is two or three
KUBECTL_S = 120


class Cluster:
    """A control plane whose files are in `directory`. A context manager; leaving it kills all of it."""

    def __init__(self, directory: Path, programs: Programs, place: Place = HERE, address: str = LOOPBACK) -> None:
        self.directory = directory
        self.place = place
        self._programs = programs
        self._host = address
        with place.entered():
            self._port, self._etcd_port, self._peer_port = (free_port(host) for host in (address, LOOPBACK, LOOPBACK))
        self.authority = Authority(directory)
        self._account_key = write_key(directory / "service-accounts.key")
        names = [*API_SERVER_NAMES, "localhost", address, LOOPBACK, API_SERVICE_IP]
        self._serving = self.authority.server("kube-apiserver", names)
        self.admin = Api(self._access(self.authority.client("admin", "system:masters")))
        self.kubeconfig = self.admin.access.kubeconfig(directory / "admin.kubeconfig")
        self._running: dict[str, Process] = {}

    @property
    def address(self) -> str:
        """The API server's "host:port"."""
        return f"{self._host}:{self._port}"

    # ---- its parts ----

    def start(self) -> None:
        """Starts all parts; returns when the API server is ready, and its controllers work."""
        self.start_etcd()
        self.start_api_server()
        self.start_controller_manager()
        self.admin.wait_for("/api/v1/namespaces/default/serviceaccounts/default", START_S)
        if self._host != LOOPBACK:  # the API server writes it when it is ready
            self.admin.wait_for("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", START_S)

    def start_etcd(self) -> None:
        client, peer = self._etcd_url, f"http://{LOOPBACK}:{self._peer_port}"
        self._start(
            "etcd",
            self._programs.etcd,
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=error",
        )
        self._wait("etcd", self._etcd_answers)

    def start_api_server(self, *options: str) -> None:
        """`options` come after the usual ones, and so override them."""
        on_loopback = self._host == LOOPBACK
        self._start(
            "kube-apiserver",
            self._programs.api_server,
            f"--etcd-servers={self._etcd_url}",
            f"--bind-address={self._host}",
            f"--secure-port={self._port}",
            f"--advertise-address={self._host}",
            # The API's own rule: no endpoint is on loopback. So there, the Service `kubernetes` has none.
            f"--endpoint-reconciler-type={'none' if on_loopback else 'master-count'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            # The API server has no kube-proxy beside it: it calls a webhook's pods, not its Service's address.
            "--enable-aggregator-routing=true",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.authority.pair.certificate}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self._account_key}",
            f"--service-account-signing-key-file={self._account_key}",
            "--authorization-mode=RBAC",
            "--profiling=false",
            # Otherwise it waits a minute for watches that nobody ends.
            "--shutdown-watch-termination-grace-period=1s",
            *options,
        )
        self._wait("kube-apiserver", self._api_server_is_ready)

    def start_controller_manager(self, *options: str) -> None:
        """`options` come after the usual ones."""
        self._start(
            "kube-controller-manager",
            self._programs.controller_manager,
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self._account_key}",
            f"--root-ca-file={self.authority.pair.certificate}",
            "--secure-port=0",
            "--leader-elect=false",
            # No node of the tests has a heartbeat that could be missed.
            "--controllers=*,-node-lifecycle-controller",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *options,
        )

    def kill(self, part: str) -> None:
        """SIGKILL: `part` is "etcd", "kube-apiserver" or "kube-controller-manager"."""
        self._running.pop(part).close()

    def stop(self, part: str) -> None:
        """SIGTERM, and its end."""
        process = self._running.pop(part)
        try:
            process.terminate()
            process.wait(START_S)
        finally:
            process.close()

    def close(self) -> None:
        """Kills all parts: nothing they have stored is for others."""
        for part in reversed(list(self._running)):
            self.kill(part)

    def restart_controllers(self) -> None:
        """After an absence of the API server: they come back to it by themselves, but in up to half a minute."""
        self.kill("kube-controller-manager")
        self.start_controller_manager()

    def compact(self) -> None:
        """Has etcd forget every version but the present one."""
        revision = self._etcd("kv/range", {"key": "AA=="})["header"]["revision"]
        self._etcd("kv/compaction", {"revision": revision, "physical": True})

    # ---- its users ----

    def account(self, namespace: str, name: str = "default") -> Api:
        """The API server as a service account sees it."""
        return Api(self._access(token=self.token(namespace, name)))

    def token(self, namespace: str, name: str = "default", spec: Mapping[str, Any] | None = None) -> str:
        """A token of a service account (TokenRequest)."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self.admin.create(path, {"spec": dict(spec or {})})["status"]["token"])

    def kubectl(self, *arguments: str, text: str = "", kubeconfig: Path | None = None) -> str:
        """Runs kubectl to its end and returns its stdout; AssertionError unless it exits with 0."""
        command = [*self.place.prefix, self._programs.kubectl, f"--kubeconfig={kubeconfig or self.kubeconfig}"]
        done = subprocess.run(
            [*command, f"--cache-dir={self.directory / 'kubectl'}", *arguments],
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            timeout=KUBECTL_S,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} exited with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def _access(self, pair: Pair | None = None, token: str = "") -> Access:
        return Access(self.address, self.authority.pair.certificate, pair, token, self.place)

    # ---- within ----

    def _start(self, part: str, *command: str) -> None:
        assert part not in self._running, f"{part} runs already"
        self._running[part] = Process(command, part, place=self.place)

    def _wait(self, part: str, condition: Callable[[], object]) -> None:
        self._running[part].wait_until(condition, "ready", START_S)

    def _api_server_is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException, RefusedError):
            return self.admin.text("GET", "/readyz") == (200, "ok")
        return False

    @property
    def _etcd_url(self) -> str:
        return f"http://{LOOPBACK}:{self._etcd_port}"

    def _etcd_answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._etcd("maintenance/status", {}).get("leader"))
        return False

    def _etcd(self, call: str, request: Mapping[str, Any]) -> Any:
        """etcd's own API as JSON, which its server offers beside gRPC."""
        asked = urllib.request.Request(f"{self._etcd_url}/v3/{call}", json.dumps(request).encode())
        with self.place.entered(), urllib.request.urlopen(asked, timeout=10) as response:
            return json.load(response)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)
