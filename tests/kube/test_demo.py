"""The demo on a cluster: balanced, and no vote fails, whatever comes and goes.

`make kube-soak` runs it longer: MESHCTL_KUBE_AWAY_S is for how many seconds the API server is away.
"""

import os
import time
from collections.abc import Iterator

import pytest

from tests.kube.demo import ADMIN_PORT, NAME, SPACE, Demo, containers, install, start
from tests.kube.nodes import NodeCluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kube

AWAY_S = float(os.environ.get("MESHCTL_KUBE_AWAY_S", "5"))
FEWEST = 0.05  # of the votes, at one of three pods: who gets none at all is not balanced
SETTLED_S = 60  # after an absence of the API server, until all that watched it has come back


@pytest.fixture(scope="module")
def demo(nodes: NodeCluster) -> Iterator[Demo]:
    """The demo, injected by the webhook, with three voting pods."""
    install(nodes)
    demo = start(nodes)
    yield demo
    for name in ("web", "bot", "emoji", "voting"):
        for pod in nodes.pods(SPACE, **{NAME: name}):
            metrics = nodes.get(pod, ADMIN_PORT, "/metrics")
            assert "meshctl_faults_total 0.0" in metrics, f"the sidecar of {name} has faults"
    nodes.admin.delete(f"/api/v1/namespaces/{SPACE}")


def test_every_pod_has_a_sidecar_and_gets_its_share(demo: Demo) -> None:
    voting = demo.pods("voting", 3)
    assert all({"meshctl-init", "meshctl-proxy", "voting"} <= containers(pod) for pod in voting)
    with demo.watched() as watched:
        demo.wait_for_votes(voting, each=10)
        shares = watched.shares()
    assert set(shares) == {pod["metadata"]["name"] for pod in voting}
    assert min(shares.values()) > FEWEST


def test_no_vote_fails_while_voting_is_scaled(demo: Demo) -> None:
    with demo.watched():
        demo.wait_for_votes(demo.scale(6))
        demo.wait_for_votes(demo.scale(2))
    demo.scale(3)


def test_no_vote_fails_while_voting_is_rolled(demo: Demo) -> None:
    old = {pod["metadata"]["name"] for pod in demo.pods("voting", 3)}
    with demo.watched():
        demo.kubectl("rollout", "restart", "deployment/voting")
        demo.kubectl("rollout", "status", "deployment/voting", "--timeout=60s")
        new = demo.pods("voting", 3)
        demo.wait_for_votes(new)
    assert not old & {pod["metadata"]["name"] for pod in new}


def test_no_vote_fails_when_a_pod_is_deleted(demo: Demo) -> None:
    (victim, *_) = demo.pods("voting", 3)
    with demo.watched():
        demo.kubectl("delete", "pod", victim["metadata"]["name"], "--wait=false")
        demo.wait_for_votes(demo.pods("voting", 3))


def test_no_vote_fails_when_the_controller_is_killed(demo: Demo) -> None:
    (controller,) = demo.nodes.wait_ready("meshctl", 1)
    with demo.watched():
        demo.nodes.kubectl(
            "--namespace=meshctl", "delete", "pod", controller["metadata"]["name"], "--grace-period=0", "--force"
        )
        demo.wait_for_votes(demo.pods("voting", 3))
        demo.nodes.wait_ready("meshctl", 1)
        # What changes after that is heard of.
        demo.wait_for_votes(demo.scale(4))
        demo.scale(3)


def test_no_vote_fails_while_the_api_server_is_away(demo: Demo) -> None:
    control = demo.nodes.control
    with demo.watched() as watched:
        control.kill("kube-apiserver")
        time.sleep(AWAY_S)
        control.start_api_server()
        control.restart_controllers()
        assert watched.votes() > AWAY_S, "votes did not go on"
        pods = demo.scale(4)
        demo.wait_for_votes(pods)
    demo.scale(3)


def test_no_vote_fails_while_the_web_front_is_rolled(demo: Demo) -> None:
    """HTTP/1.1 all the way: the bot's connections are to its sidecar, and stay."""
    log = demo.bot_log()
    demo.kubectl("rollout", "restart", "deployment/web")
    demo.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    demo.pods("web", 1)
    wait_until(lambda: sum(demo.answered().values()) > 20, "votes at the new one", SETTLED_S, interval_s=0.2)
    said = demo.bot_log().removeprefix(log)
    assert "failed" not in said and "broke" not in said, f"the bot says:\n{said}"
