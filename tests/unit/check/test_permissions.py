"""The rights that `meshctl check` asks for the controller are rights that the manifests give it, in every variant."""

from collections.abc import Iterator
from typing import Any

import pytest

from injector.config import parse
from meshctl.check.facts import Permission
from meshctl.check.permissions import controller_needs, installing_needs
from meshctl.installation import COLLECTIONS, manifests

VARIANTS: list[dict[str, Any]] = [
    {},
    {"webhook": {"certificates": "provided"}},
    {"namespaces": ["shop", "web"]},
    {"namespaceOnly": True},
]


def given(objects: list[dict[str, Any]]) -> Iterator[Permission]:
    """What roles allow: "" as a name is any."""
    for role in objects:
        for rule in role.get("rules", ()) if role["kind"] in ("Role", "ClusterRole") else ():
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        whole = f"{resource}.{group}" if group else resource
                        where = role["metadata"].get("namespace", "")
                        yield from (Permission(verb, whole, where, name) for verb in rule["verbs"])


def is_allowed(needed: Permission, by: set[Permission]) -> bool:
    wider = [
        Permission(needed.verb, needed.resource, namespace, name)
        for namespace in {needed.namespace, ""}
        for name in {needed.name, ""}
    ]
    return not by.isdisjoint(wider)


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_what_the_controller_needs_is_what_it_is_given(values: dict[str, Any]) -> None:
    objects = [dict(manifest.object) for manifest in manifests(values, "meshctl")]
    settings = next(
        each for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "meshctl-controller"
    )
    needed = controller_needs("meshctl", parse(settings["data"]["controller.yaml"]))
    allowed = set(given(objects))
    assert [each for each in needed if not is_allowed(each, allowed)] == []
    resources = {each.resource for each in needed}
    idle = {each.resource for each in allowed if each.resource != "events.events.k8s.io"} - resources
    assert idle == set(), "rights that nothing asks for"


def test_whoever_installs_needs_to_create_every_kind() -> None:
    needed = {each.resource.partition(".")[0] for each in installing_needs("meshctl") if each.verb == "create"}
    kinds = {manifest.object["kind"] for manifest in manifests({"ha": True}, "meshctl")}
    assert {COLLECTIONS[kind][1] for kind in kinds} == needed
