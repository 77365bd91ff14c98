"""Helm itself, which scripts/helm builds: whether it is there, and what it renders."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.manifests import DEPLOY, Document
from tests.support.process import ROOT

CHART = DEPLOY / "chart"
OLDEST_KUBERNETES = "1.29.0"


def program() -> str | None:
    """The Helm of scripts/helm, or one that is on PATH."""
    found = re.search(r"^version=(\S+)$", (ROOT / "scripts" / "helm").read_text(), re.MULTILINE)
    assert found is not None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return shutil.which(cache / "meshctl" / "helm" / found[1] / "helm") or shutil.which("helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    path = program()
    assert path is not None
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60)


def template(chart: Path, values: dict[str, Any], namespace: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`helm template` with values from a file in `folder`."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    options = ("--kube-version", OLDEST_KUBERNETES, "--namespace", namespace, "--values", str(file))
    return helm("template", "meshctl", str(chart), *options)


def rendered(chart: Path, values: dict[str, Any], namespace: str, folder: Path) -> list[Document]:
    """The objects it makes; AssertionError with what it says if it makes none."""
    done = template(chart, values, namespace, folder)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]
