"""What the chart makes for cert-manager and the Prometheus operator, checked by an API server that knows their kinds.

The definitions are those that the projects publish (scripts/crds), as an API server reads them: types, limits, CEL
rules, and with strict validation no field that they do not know. Neither project runs here.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshctl.installation import COLLECTIONS
from tests.kube.cluster import Cluster
from tests.kube.installing import ABSENT, install, meshctl, uninstall
from tests.support.process import ROOT
from tests.unit.chart.samples import SAMPLES

pytestmark = pytest.mark.kube

SCRIPT = (ROOT / "scripts" / "crds").read_text()
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WITH = [name for name, values in SAMPLES.items() if "certManager" in str(values) or "podMonitor" in values]


def published() -> list[dict[str, Any]]:
    """The definitions, without their labels, which are a Helm chart's; skips the test where one is missing."""
    modules = dict(re.findall(r"^(\w+)=\S+/([^/\s]+@v\S+)$", SCRIPT, re.MULTILINE))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshctl" / "crds"
    files = [cache / modules[name] / file for name, file in re.findall(r'"\$(\w+) \S+/([^/\s]+)"', SCRIPT)]
    if absent := [file.name for file in files if not file.is_file()]:
        pytest.skip(f"{', '.join(absent)} are not there: scripts/crds")
    read = [yaml.safe_load(file.read_text()) for file in files]
    return [{**each, "metadata": {"name": each["metadata"]["name"]}} for each in read]


@pytest.fixture(scope="module")
def knowing(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with these kinds, for the tests of this file."""
    definitions = published()
    names = [each["metadata"]["name"] for each in definitions]
    for each in definitions:
        cluster.admin.create(DEFINITIONS, each)
    try:
        crds = [f"crd/{name}" for name in names]
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
        yield cluster
    finally:
        for name in names:
            cluster.admin.delete(f"{DEFINITIONS}/{name}")
        cluster.kubectl("wait", "--for=delete", "--timeout=30s", *crds)


def dry_run(cluster: Cluster, documents: list[dict[str, Any]], namespace: str) -> list[str]:
    """What the API server would make of them; AssertionError with what it says if it refuses one."""
    text = "\n---\n".join(json.dumps(each) for each in documents)
    strictly = ("--dry-run=server", "--validate=strict", "--output=name", "--namespace", namespace)
    return cluster.kubectl("create", *strictly, "-f", "-", text=text).split()


def foreign(cluster: Cluster, values: dict[str, Any], folder: Path, namespace: str) -> list[dict[str, Any]]:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    made = meshctl(cluster, "install", "--namespace", namespace, "--values", str(file)).stdout
    return [each for each in yaml.safe_load_all(made) if each["kind"] in ABSENT]


@pytest.mark.parametrize("name", WITH)
def test_they_are_as_their_definitions_say(knowing: Cluster, namespace: str, name: str, tmp_path: Path) -> None:
    documents = foreign(knowing, SAMPLES[name], tmp_path, namespace)
    assert len(dry_run(knowing, documents, namespace)) == len(documents) > 0


def test_a_field_that_a_definition_does_not_know_is_refused(knowing: Cluster, namespace: str, tmp_path: Path) -> None:
    documents = foreign(knowing, SAMPLES["everything"] | SAMPLES["cert_manager"], tmp_path, namespace)
    assert {each["kind"] for each in documents} == set(ABSENT)
    for each in documents:
        with pytest.raises(AssertionError, match=r'unknown field "spec\.misspelt"'):
            dry_run(knowing, [{**each, "spec": {**each["spec"], "misspelt": 1}}], namespace)


def test_uninstalled_none_of_them_stays(knowing: Cluster, cleared: Cluster) -> None:
    provided = ("webhook.certificates=provided", "webhook.certManager.enabled=true", "podMonitor.enabled=true")
    install(cleared, *(word for each in provided for word in ("--set", each)))
    collections = (COLLECTIONS[kind] for kind in ABSENT)
    kinds = ",".join(f"{plural}.{version.partition('/')[0]}" for version, plural in collections)
    made = knowing.kubectl("get", kinds, "--namespace", "meshctl", "--output=name").split()
    assert len(made) == 6
    uninstall(cleared)
    assert knowing.kubectl("get", kinds, "--all-namespaces", "--output=name").split() == []
