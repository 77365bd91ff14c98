"""`meshctl check`, and what else asks a running installation: against a real API server, controller and sidecar.

Each fault is really there, and `meshctl check` has to find it and say how to mend it. What must hold is that it finds
twelve; there are more.
"""

from collections.abc import Iterator

import pytest

from tests.kube.faults import FAULTS
from tests.kube.installation import Installation
from tests.kube.programs import Programs
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("namespaces")]


@pytest.fixture(scope="module")
def installation(
    request: pytest.FixtureRequest, kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """One for all tests of this module; each leaves it as it was."""
    request.getfixturevalue("namespaces")
    installation = Installation(tmp_path_factory.mktemp("installation"), kube_programs)
    yield installation
    installation.close()


def test_an_installation_that_is_well_passes_every_check(installation: Installation) -> None:
    code, found = installation.check()
    assert {name: each for name, each in found.items() if each["status"] != "ok"} == {}
    assert code == 0
    assert len(found) > 20


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_the_way_to_mend_it(installation: Installation, name: str) -> None:
    fault = FAULTS[name]
    with fault.seed(installation):
        code, found = installation.check()
        result = found[fault.check]
        assert result["status"] == fault.status, found
        assert any(fault.hint in problem["hint"] for problem in result["problems"]), result
        assert code == (1 if any(each["status"] == "failed" for each in found.values()) else 0)
        if fault.status == "failed":
            assert code == 1


def test_after_all_faults_it_is_well_again(installation: Installation) -> None:
    def failed() -> bool:
        return installation.check()[0] == 0

    wait_until(failed, "well again", 40)  # a lease that somebody else held is taken 15 s later
