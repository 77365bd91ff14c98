"""Puts chart, values and templates together, and gives the objects in the order in which they can be applied.

The files are read as package data, so that they are there wherever meshctl is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import yaml

from meshctl.chart.evaluator import Evaluator
from meshctl.chart.lexer import ChartError, Place
from meshctl.chart.parser import Template, parse

RELEASE: Final = "meshctl"
SERVICE: Final = "meshctl"  # what Helm calls itself here: who keeps track of the objects
ORDER: Final = (
    "ServiceAccount",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "Deployment",
    "Issuer",
    "Certificate",
    "PodMonitor",
    # Last: until now no pod waits for a webhook that is not there yet.
    "MutatingWebhookConfiguration",
)
"""The kinds that the chart may have, each after what it needs."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """An object, as the chart writes it and as data."""

    text: str
    object: Object


def chart_files() -> Traversable:
    """The folder with Chart.yaml, values.yaml, values.schema.json and templates."""
    return files("meshctl.chart") / "files"


def render(values: Mapping[str, Any], namespace: str) -> list[Manifest]:
    """The objects of the chart with all of its `values`, which have been checked. Raises `ChartError`."""
    about = _about()
    data = {
        "Values": values,
        "Release": {"Name": RELEASE, "Namespace": namespace, "Service": SERVICE},
        "Chart": {"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
    }
    templates = dict(_templates())
    named = {name: body for template in templates.values() for name, body in template.defined.items()}
    evaluator = Evaluator(named)
    manifests = [
        manifest
        for file, template in templates.items()
        if not file.startswith("_")
        for manifest in _manifests(file, evaluator.render(template.nodes, data))
    ]
    return sorted(manifests, key=lambda manifest: ORDER.index(manifest.object["kind"]))


def app_version() -> str:
    """The version of meshctl that the chart installs."""
    return str(_about()["appVersion"])


def _about() -> Mapping[str, Any]:
    about: Mapping[str, Any] = yaml.safe_load((chart_files() / "Chart.yaml").read_text())
    return about


def _templates() -> Iterator[tuple[str, Template]]:
    for file in sorted((chart_files() / "templates").iterdir(), key=lambda file: file.name):
        yield file.name, parse(file.name, file.read_text())


def _manifests(file: str, text: str) -> Iterator[Manifest]:
    for part in f"\n{text}".split("\n---\n"):
        try:
            held = yaml.safe_load(part)
        except yaml.YAMLError as error:
            raise ChartError(Place(file, 1), f"does not become YAML: {' '.join(str(error).split())}") from error
        if held is not None:
            if not isinstance(held, dict) or held.get("kind") not in ORDER:
                raise ChartError(Place(file, 1), "becomes something that is no object of a known kind")
            yield Manifest(part.strip() + "\n", held)
