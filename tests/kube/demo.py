"""The demo application of deploy/demo on the cluster without containers, and what its own counters say.

The web front counts its votes by the pod that answered, and every call that failed and was not meant to; the bot says
of each vote that failed. `Watched` compares two moments.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.kube.api import Json
from tests.kube.installed import be_patient
from tests.kube.nodes import NodeCluster
from tests.kube.shipped import meshctl
from tests.support.waiting import wait_until

SPACE = "emojivote"
NAME = "app.kubernetes.io/name"
MANIFESTS = "deploy/demo/kubernetes"
ADMIN_PORT = 4191
WEB_PORT = 8080
VOTES_PER_S = 60  # more than people see in the demo: more chances to fail
CHANGED = {
    'value: "20"': f'value: "{VOTES_PER_S}"',
    "periodSeconds: 5": "periodSeconds: 1",
    # A machine that stands still for some seconds must not make a vote late, nor the news of a pod that goes.
    "args:\n        - web.py": "args:\n        - web.py\n        - --timeout-s=30",
    "time.sleep(2)": "time.sleep(8)",
}
VOTES_WITHIN_S = 120


@dataclass
class Demo:
    """The application, with sidecars."""

    nodes: NodeCluster

    def pods(self, name: str, count: int) -> list[Json]:
        """The pods of a Deployment, once `count` are ready, and no more there but those that are about to go."""
        return self.nodes.wait_ready(SPACE, count, {NAME: name})

    def scale(self, count: int) -> list[Json]:
        """Another number of voting pods; returns them when they are ready."""
        self.kubectl("scale", "deployment/voting", f"--replicas={count}")
        return self.pods("voting", count)

    def scale_and_settle(self, count: int) -> list[Json]:
        """The same; returns them when all others are gone, and the web front's sidecar knows."""
        pods = self.scale(count)
        addresses = {pod["status"]["podIP"] for pod in pods}
        wait_until(lambda: self._known() == addresses, f"{sorted(addresses)}, and no others", VOTES_WITHIN_S, 0.2)
        return pods

    def _known(self) -> set[str]:
        """Addresses of the voting pods, as the web front's sidecar has them; none before it is all of them."""
        selector = f"?labelSelector={NAME}=voting"
        there = self.nodes.admin.get(f"/api/v1/namespaces/{SPACE}/pods{selector}")["items"]
        (web,) = self.nodes.pods(SPACE, {NAME: "web"})
        clusters = json.loads(self.nodes.get(web, ADMIN_PORT, "/endpoints")).values()
        voting = [endpoint for each in clusters if each["name"].startswith("voting.") for endpoint in each["endpoints"]]
        known = {each["address"].rpartition(":")[0] for each in voting}
        return known if len(there) == len(known) else set()

    def kubectl(self, *arguments: str) -> str:
        return self.nodes.kubectl("--namespace", SPACE, *arguments)

    def stats(self) -> Json:
        """What the web front has counted."""
        (web,) = self.nodes.pods(SPACE, {NAME: "web"})
        found: Json = json.loads(self.nodes.get(web, WEB_PORT, "/stats"))
        return found

    def answered(self) -> dict[str, int]:
        """Votes that were accepted, by pod."""
        return {pod: counts["accepted"] for pod, counts in self.stats()["pods"].items()}

    def failures(self) -> int:
        """How many calls of the web front have failed that were not meant to."""
        return sum(self.stats()["failures"].values())

    def bot_log(self) -> str:
        (bot,) = self.nodes.pods(SPACE, {NAME: "bot"})
        return self.nodes.log(bot, "bot")

    def wait_for_votes(self, pods: list[Json], each: int = 5) -> None:
        """Returns when every one of `pods` has accepted `each` more votes."""
        names = [pod["metadata"]["name"] for pod in pods]
        before = self.answered()

        def answering() -> bool:
            now = self.answered()
            return all(now.get(name, 0) >= before.get(name, 0) + each for name in names)

        wait_until(answering, f"{each} votes of each of {names}", VOTES_WITHIN_S, interval_s=0.2)

    @contextmanager
    def watched(self) -> Iterator["Watched"]:
        """No vote may fail within the block but those that are meant to, and votes have to go on."""
        watched = Watched(self, self.stats(), self.bot_log())
        yield watched
        watched.check()


@dataclass
class Watched:
    """Two moments compared."""

    demo: Demo
    before: Json
    log_before: str

    def check(self) -> None:
        now = self.demo.stats()
        new = {text: count - self.before["failures"].get(text, 0) for text, count in now["failures"].items()}
        failed = {text: count for text, count in new.items() if count}
        assert not failed, f"calls of the web front failed: {failed}\n{self.demo.nodes.described(SPACE)}"
        said = self.demo.bot_log().removeprefix(self.log_before)
        assert not re.search("failed|broke", said), f"the bot says:\n{said}"
        assert self.votes() > 0, "no votes at all"

    def votes(self) -> int:
        """How many were accepted since then."""
        return sum(self._counts().values())

    def shares(self) -> dict[str, float]:
        """Of the votes since then, by pod."""
        counts = self._counts()
        return {pod: count / sum(counts.values()) for pod, count in counts.items() if count}

    def _counts(self) -> dict[str, int]:
        before = {pod: int(counts["accepted"]) for pod, counts in self.before["pods"].items()}
        return {pod: count - before.get(pod, 0) for pod, count in self.demo.answered().items()}


def install(nodes: NodeCluster) -> None:
    """meshctl install | kubectl apply; returns when the controller is ready."""
    nodes.kubectl("apply", "--filename=-", text=meshctl("install"))
    nodes.kubectl("--namespace=meshctl", "rollout", "status", "deployment/meshctl-controller", "--timeout=100s")
    be_patient(nodes.admin)
    wait_for_injection(nodes)


def wait_for_injection(nodes: NodeCluster) -> None:
    """Returns when the API server calls the webhook: a moment after the controller is ready."""
    metadata = {"name": "trial", "annotations": {"meshctl.io/inject": "enabled"}}
    spec = {"containers": [{"name": "trial", "image": "meshctl-demo"}]}

    def injected() -> bool:
        pods = "/api/v1/namespaces/default/pods?dryRun=All"
        return "meshctl-proxy" in containers(nodes.admin.create(pods, {"metadata": metadata, "spec": spec}))

    wait_until(injected, "a pod with a sidecar", VOTES_WITHIN_S, interval_s=0.1)


def start(nodes: NodeCluster) -> Demo:
    """Applies the demo in a namespace whose pods are injected; returns when its votes are counted."""
    namespace = {"metadata": {"name": SPACE, "annotations": {"meshctl.io/inject": "enabled"}}}
    nodes.admin.create("/api/v1/namespaces", namespace)
    nodes.admin.wait_for(f"/api/v1/namespaces/{SPACE}/serviceaccounts/default")
    manifests = nodes.kubectl("kustomize", MANIFESTS)
    for shipped, here in CHANGED.items():
        assert shipped in manifests
        manifests = manifests.replace(shipped, here)
    nodes.kubectl("apply", "--filename=-", text=manifests)
    demo = Demo(nodes)
    for name, count in {"emoji": 1, "voting": 3, "web": 1, "bot": 1}.items():
        demo.pods(name, count)
    wait_until(lambda: sum(demo.answered().values()) > 0, "the first votes", VOTES_WITHIN_S, interval_s=0.1)
    return demo


def containers(pod: Json) -> set[str]:
    """The names of all its containers."""
    spec: dict[str, Any] = pod["spec"]
    return {each["name"] for each in (*spec.get("initContainers", []), *spec["containers"])}
