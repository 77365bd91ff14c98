"""Checks of the cluster, and of what is needed to install."""

import pytest

from injector.config import parse
from meshctl.check.facts import Permission
from meshctl.check.kubernetes import KUBERNETES, PERMISSIONS
from tests.unit.check.facts import only, problems, webhook, well

_, VERSION = (check.find for check in KUBERNETES)
MAY_INSTALL, NOT_INSTALLED = (check.find for check in PERMISSIONS)


@pytest.mark.parametrize("minor", ["29", "34", "34+"])
def test_a_cluster_with_native_sidecars_is_recent_enough(minor: str) -> None:
    assert problems(VERSION, well(server_version={"major": "1", "minor": minor})) == []


def test_an_older_cluster_needs_ordinary_containers() -> None:
    old = {"major": "1", "minor": "28+"}
    problem = only(VERSION, well(server_version=old))
    assert "1.28" in problem.what
    assert "--no-native-sidecar" in problem.hint
    ordinary = parse("injection: {image: meshctl, native_sidecar: false}")
    assert problems(VERSION, well(server_version=old, config=ordinary)) == []


def test_a_cluster_without_endpoint_slices_is_too_old() -> None:
    problem = only(VERSION, well(server_version={"major": "1", "minor": "20"}))
    assert "EndpointSlices" in problem.what
    assert "upgrade the cluster" in problem.hint


def test_a_server_that_does_not_say_its_version_is_a_warning() -> None:
    problem = only(VERSION, well(server_version={"major": "", "minor": ""}))
    assert problem.warning
    assert "kubectl version" in problem.hint


def test_what_one_may_not_do_is_listed_by_resource() -> None:
    denied = [Permission("create", "roles", "a"), Permission("patch", "roles", "a"), Permission("create", "namespaces")]
    problem = only(MAY_INSTALL, well(may_not=denied))
    assert problem.what == "you may not create, patch roles in a; create namespaces"
    assert "cluster-admin" in problem.hint


def test_before_installing_there_should_be_none() -> None:
    assert problems(NOT_INSTALLED, well(deployment=None, webhook=None)) == []
    assert only(NOT_INSTALLED, well()).warning
    assert "meshctl upgrade" in only(NOT_INSTALLED, well()).hint


def test_one_in_another_namespace_is_in_the_way() -> None:
    problem = only(NOT_INSTALLED, well(namespace="mesh2", deployment=None, webhook=webhook(b"")))
    assert "in namespace meshctl" in problem.what
    assert "--namespace meshctl" in problem.hint
    assert not problem.warning
