"""An installation on the cluster of the tests: applied, found, taken away, and what the controller writes into it."""

import base64
import json
import subprocess
import sys
from typing import Any

from meshctl.installation import COLLECTIONS, labels
from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.support.process import ROOT

SECRETS = "/api/v1/namespaces/meshctl/secrets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/meshctl/leases"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
KEYS = {name: base64.b64encode(name.encode()).decode() for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")}
WAYS = {"client_side": ("apply",), "server_side": ("apply", "--server-side")}
# Kinds of other projects, which this cluster does not know.
ABSENT = ("Issuer", "Certificate", "PodMonitor")


def meshctl(cluster: Cluster, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    access = () if command == "install" else ("--kubeconfig", str(cluster.kubeconfig))
    done = subprocess.run(
        [sys.executable, "-m", "meshctl", command, *access, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def install(cluster: Cluster, *arguments: str, way: str = "client_side", command: str = "install") -> str:
    return cluster.kubectl(*WAYS[way], "-f", "-", text=meshctl(cluster, command, *arguments).stdout)


def uninstall(cluster: Cluster, namespace: str = "meshctl") -> str:
    printed = meshctl(cluster, "uninstall", "--namespace", namespace).stdout
    cluster.kubectl("delete", "--timeout=100s", "-f", "-", text=printed)
    return printed


def left_over(cluster: Cluster, namespace: str) -> list[str]:
    """What there still is with the installation's labels, of all kinds in all namespaces."""
    selector = ",".join(f"{name}={value}" for name, value in labels(namespace).items())
    listed = cluster.kubectl("get", resources(), "--all-namespaces", "--selector", selector, "--output=name")
    return listed.split()


def resources() -> str:
    """All kinds that an installation may have here, as kubectl names them."""
    known = [each for kind, each in COLLECTIONS.items() if kind not in ABSENT]
    return ",".join(f"{plural}.{version.rpartition('/')[0]}".rstrip(".") for version, plural in known)


def act_as_controller(account: Api) -> dict[str, Any]:
    """Everything that the controller writes, as its account; returns what must stay."""
    metadata = {"name": "meshctl-webhook-tls", "labels": {"app.kubernetes.io/name": "meshctl"}}
    account.create(SECRETS, {"metadata": metadata, "type": "kubernetes.io/tls", "data": KEYS})
    account.create(LEASES, {"metadata": {"name": "meshctl-controller"}, "spec": {"holderIdentity": "a"}})
    change = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": KEYS["ca.crt"]}]
    status, text = account.text(
        "PATCH", f"{WEBHOOKS}/meshctl-injector", json.dumps(change), "application/json-patch+json"
    )
    assert status == 200, text
    return written(account)


def written(account: Api) -> dict[str, Any]:
    return {
        "secret": account.get(f"{SECRETS}/meshctl-webhook-tls")["data"],
        "lease": account.get(f"{LEASES}/meshctl-controller")["spec"],
        "bundle": account.get(f"{WEBHOOKS}/meshctl-injector")["webhooks"][0]["clientConfig"]["caBundle"],
    }
