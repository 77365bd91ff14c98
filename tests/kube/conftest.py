"""Clusters for all tests that need one, a namespace of it for each; or the reason why there is none.

They end with the last test of this folder: what comes after them has the machine for itself.
"""

import itertools
from collections.abc import Iterator

import pytest

from tests.kube.cluster import Cluster
from tests.kube.installation import Installation
from tests.kube.installing import resources
from tests.kube.nodes import NodeCluster, node_cluster
from tests.kube.objects import NODE
from tests.kube.programs import MissingError, Programs, programs
from tests.netns.conftest import namespaces

__all__ = ["namespaces"]  # a fixture of theirs

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kube_programs() -> Programs:
    """What a cluster consists of; skips the test, with the reason, where a part is missing."""
    try:
        return programs()
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def cluster(kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane on loopback, and a node without a kubelet. A test that stops a part of it starts it again."""
    with Cluster(tmp_path_factory.mktemp("kube"), kube_programs) as cluster:
        cluster.admin.create("/api/v1/nodes", {"metadata": {"name": NODE}})
        yield cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace, whose default service account is there."""
    name = f"test-{next(_numbers)}"
    cluster.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    cluster.admin.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default")
    yield name
    cluster.admin.delete(f"/api/v1/namespaces/{name}/pods", grace_s=0)  # nobody else would end them
    cluster.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="package")
def nodes(
    request: pytest.FixtureRequest, kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeCluster]:
    """A control plane and a node, in network namespaces; skips the test, with the reason, where there can be none."""
    request.getfixturevalue("namespaces")
    with node_cluster(tmp_path_factory.mktemp("nodes"), kube_programs) as cluster:
        yield cluster


@pytest.fixture
def cleared(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; what a test leaves of an installation goes, also after a failure."""
    yield cluster
    selected = ("--all-namespaces", "--selector", "app.kubernetes.io/name=meshctl", "--timeout=100s")
    cluster.kubectl("delete", resources(), *selected)


@pytest.fixture(scope="package")
def installation(
    request: pytest.FixtureRequest, kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A cluster with meshctl in it, for all tests that look at one; each leaves it as it was."""
    request.getfixturevalue("namespaces")
    with Installation(tmp_path_factory.mktemp("installation"), kube_programs) as installation:
        yield installation
