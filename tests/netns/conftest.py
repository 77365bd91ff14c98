"""Fixtures for tests in network namespaces, and the reason when this machine cannot make any."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.mesh import Mesh
from tests.netns.namespace import Namespace, sweep
from tests.netns.network import Network

PROGRAMS = ("ip", "setpriv", "sysctl", "curl", "iptables-restore", "ip6tables-restore")


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips the test, with the reason, where namespaces cannot be made; removes those of a run that was killed."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    sweep()
    try:
        with Namespace("probe") as probe:
            probe.run(["iptables-restore", "--noflush"], text="*nat\n-A OUTPUT -p tcp -j REDIRECT\nCOMMIT\n")
    except AssertionError as error:
        pytest.skip(f"no network namespaces with iptables on this machine: {error}")


@pytest.fixture
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    """A node without pods."""
    request.getfixturevalue("namespaces")
    with Network(tmp_path) as network:
        yield network


@pytest.fixture
def network6(network: Network) -> Network:
    """A node without pods, that has IPv6."""
    if not network.ipv6:
        pytest.skip("this kernel runs without IPv6")
    return network


@pytest.fixture(scope="module")
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A client pod and three server pods behind sidecars; one for all tests of a module, as they take long to make."""
    request.getfixturevalue("namespaces")
    with Network(tmp_path_factory.mktemp("mesh")) as network:
        mesh = Mesh(network)
        yield mesh
        for meshed in (mesh.client, *mesh.servers):
            assert meshed.sidecar.metric("meshctl_faults_total") == 0


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest, mesh: Mesh) -> int:
    """Which of the two IPs a test uses."""
    if request.param == 6 and not mesh.network.ipv6:
        pytest.skip("this kernel runs without IPv6")
    return int(request.param)
