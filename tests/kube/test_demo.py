"""The demo on a cluster: balanced, and no vote fails, whatever comes and goes.

`make kube-soak` does it for longer: MESHCTL_KUBE_AWAY_S is for how many seconds the API server is away, and
MESHCTL_KUBE_ROUNDS how often the voting pods are scaled and rolled.
"""

import os
import time
from collections.abc import Iterator

import pytest

from tests.kube.demo import ADMIN_PORT, NAME, SPACE, Demo, containers, install, start, wait_for_injection
from tests.kube.nodes import NodeCluster
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(1800)]

AWAY_S = float(os.environ.get("MESHCTL_KUBE_AWAY_S", "5"))
ROUNDS = int(os.environ.get("MESHCTL_KUBE_ROUNDS", "1"))
BACK_S = 120  # within which all that watches the API server has come back to it
VOTES_AT_ONCE = 16  # the bot's workers, each of which has one vote on its way
MOST = 0.9  # of the votes at one of three pods; without a sidecar it gets all


@pytest.fixture(scope="module")
def demo(nodes: NodeCluster) -> Iterator[Demo]:
    """The demo, injected by the webhook, with three voting pods at first."""
    install(nodes)
    demo = start(nodes)
    yield demo
    for name in ("web", "bot", "emoji", "voting"):
        for pod in nodes.pods(SPACE, {NAME: name}):
            assert nodes.metric(pod, ADMIN_PORT, "meshctl_faults_total") == 0, f"the sidecar of {name} has faults"
    nodes.admin.delete(f"/api/v1/namespaces/{SPACE}")


def test_every_pod_has_a_sidecar_and_gets_its_share(demo: Demo) -> None:
    voting = demo.pods("voting", 3)
    assert all({"meshctl-init", "meshctl-proxy", "voting"} <= containers(pod) for pod in voting)
    with demo.watched() as watched:
        demo.wait_for_votes(voting, each=10)
        shares = watched.shares()
    assert set(shares) == {pod["metadata"]["name"] for pod in voting}
    assert max(shares.values()) < MOST


def test_no_vote_fails_while_voting_is_scaled(demo: Demo) -> None:
    with demo.watched():
        for _ in range(ROUNDS):
            demo.wait_for_votes(demo.scale(6))
            demo.wait_for_votes(demo.scale(2))


def test_no_vote_fails_while_voting_is_rolled(demo: Demo) -> None:
    old = {pod["metadata"]["name"] for pod in demo.scale(2)}
    with demo.watched():
        for _ in range(ROUNDS):
            demo.kubectl("rollout", "restart", "deployment/voting")
            demo.kubectl("rollout", "status", "deployment/voting", "--timeout=100s")
            new = demo.pods("voting", 2)
            demo.wait_for_votes(new)
    assert not old & {pod["metadata"]["name"] for pod in new}


def test_no_vote_fails_when_a_pod_is_deleted(demo: Demo) -> None:
    (victim, _) = demo.scale(2)
    with demo.watched():
        demo.kubectl("delete", "pod", victim["metadata"]["name"], "--wait=false")
        demo.wait_for_votes(demo.pods("voting", 2))


def test_a_pod_that_vanishes_costs_no_more_than_the_votes_it_had(demo: Demo) -> None:
    """It is killed, and its network goes with it: nothing is drained."""
    (victim, _) = demo.scale_and_settle(2)
    before = demo.failures()
    demo.kubectl("delete", "pod", victim["metadata"]["name"], "--grace-period=0", "--force")
    demo.wait_for_votes(demo.pods("voting", 2))
    # In flight: its connections end with it, and whoever has lost one sends nothing more there.
    assert demo.failures() - before <= VOTES_AT_ONCE


def test_no_vote_fails_when_the_controller_is_killed(demo: Demo) -> None:
    (controller,) = demo.nodes.wait_ready("meshctl", 1)
    demo.scale_and_settle(2)
    with demo.watched():
        name = controller["metadata"]["name"]
        demo.nodes.kubectl("--namespace=meshctl", "delete", "pod", name, "--grace-period=0", "--force")
        demo.nodes.wait_ready("meshctl", 1)
        wait_for_injection(demo.nodes)
        # What changes from then on is heard of.
        demo.wait_for_votes(demo.scale(3))


def test_no_vote_fails_while_the_api_server_is_away(demo: Demo) -> None:
    control = demo.nodes.control
    # The news of a pod that goes must be there before the API server is not.
    demo.scale_and_settle(2)
    with demo.watched():
        control.kill("kube-apiserver")
        time.sleep(AWAY_S)
        control.start_api_server()
        control.restart_controllers()
        demo.wait_for_votes(demo.scale(3))


def test_no_vote_fails_while_the_web_front_is_rolled(demo: Demo) -> None:
    """HTTP/1.1 all the way: the bot's connections end at its own sidecar, and stay."""
    log = demo.bot_log()
    demo.kubectl("rollout", "restart", "deployment/web")
    demo.kubectl("rollout", "status", "deployment/web", "--timeout=100s")
    demo.pods("web", 1)
    wait_until(lambda: sum(demo.answered().values()) > 20, "votes at the new one", BACK_S, interval_s=0.2)
    said = demo.bot_log().removeprefix(log)
    assert "failed" not in said, f"the bot says:\n{said}"
    assert "broke" not in said, f"the bot says:\n{said}"
