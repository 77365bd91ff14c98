"""What ships: meshctl as its users run it, and the manifests that it prints."""

import subprocess
import sys

import yaml

from tests.kube.api import Json
from tests.support.process import ROOT

DIRECT_MODE = "meshctl-endpoints"


def meshctl(*arguments: str, text: str = "") -> str:
    """Runs meshctl to its end and returns its stdout; AssertionError unless it exits with 0."""
    command = [sys.executable, "-m", "meshctl", *arguments]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"meshctl {' '.join(arguments)} exited with {done.returncode}:\n{done.stderr}"
    return done.stdout


def direct_mode_rights(namespace: str) -> list[Json]:
    """The Role that sidecars in direct mode need, and its binding to the service accounts of a namespace."""
    values = f"directMode: {{namespaces: [{namespace}]}}"
    rendered = meshctl("install", "--values=/dev/stdin", text=values)
    found = [each for each in yaml.safe_load_all(rendered) if each["metadata"]["name"] == DIRECT_MODE]
    assert sorted(each["kind"] for each in found) == ["Role", "RoleBinding"]
    return found
