"""Reads the YAML of `deploy/`: documents, and the pods in them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tests.support.process import ROOT

DEPLOY = ROOT / "deploy"
DEMO = DEPLOY / "demo" / "kubernetes"
POD_EXAMPLE = DEPLOY / "examples" / "pod.yaml"

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


@dataclass(frozen=True)
class Pod:
    """A pod, or a workload's template of one."""

    name: str
    labels: dict[str, str]
    spec: Document

    @cached_property
    def containers(self) -> dict[str, Document]:
        listed = [*self.spec.get("initContainers", []), *self.spec["containers"]]
        return {container["name"]: container for container in listed}

    @property
    def port_names(self) -> set[str]:
        return {port["name"] for container in self.containers.values() for port in container.get("ports", [])}


def pods(of: list[Document]) -> list[Pod]:
    found = []
    for document in of:
        body = document if document["kind"] == "Pod" else document.get("spec", {}).get("template")
        if body is not None:
            found.append(Pod(document["metadata"]["name"], body["metadata"]["labels"], body["spec"]))
    return found


def named(of: list[Document], kind: str) -> dict[str, Document]:
    return {document["metadata"]["name"]: document for document in of if document["kind"] == kind}


def variables(container: Document) -> dict[str, str | None]:
    """Name to value; None where the value comes from the pod."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}
