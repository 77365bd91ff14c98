"""The four phases of the demo: what each does, and what must hold for it to have shown its point.

Each leaves its table on the screen and returns its verdict. What a phase changes has a moment to settle
before shares are measured; failures are counted from the phase's first moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshctl.demo.application import Application, Pod
from meshctl.demo.display import Verdict
from meshctl.demo.figures import ALL_PODS, Figures
from meshctl.demo.programs import Program
from meshctl.demo.watch import Watch

# Each of three pods that are alike is to get at least this. Not a third: the balancer prefers the pod that
# answers fastest, and on a busy machine one answer that was late keeps a pod behind for seconds.
LEAST_SHARE = 0.01
# A pod that has become slow is to get less than this part of the share it had. Most often it is under a
# hundredth; it is more for a while when the others, too, have had an answer that was late.
MOST_KEPT = 0.5


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long the parts of the phases take, and how fast the bot votes."""

    settle_s: float = 2.0
    kubernetes_s: float = 9.0
    proxy_s: float = 12.0
    slow_s: float = 11.0
    leaving_s: float = 2.0
    away_s: float = 3.0
    back_s: float = 5.0
    back_timeout_s: float = 12.0
    votes_per_s: float = 250.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What every phase works with."""

    application: Application
    watch: Watch
    schedule: Schedule

    def busiest(self, rows: list[Figures]) -> Pod:
        """Return the pod that got the most calls."""
        calls = {row.pod: row.calls for row in rows}
        return max(self.application.pods, key=lambda pod: calls[pod.name])

    def conclude(self, rows: list[Figures], shown: str, broken: list[str]) -> Verdict:
        """End the phase: it held when nothing is `broken`, no call failed, and there were calls at all."""
        failures = [f"{count} calls failed: {text}" for text, count in self.watch.failures().items()]
        if not rows[-1].calls:
            broken = ["no vote reached a pod", *broken]
        broken = [*broken, *failures]
        verdict = Verdict(not broken, "; ".join(broken) if broken else shown)
        self.watch.end(rows, verdict)
        return verdict


async def as_kubernetes_does(stage: Stage) -> Verdict:
    """One connection, balanced once: one pod gets every call."""
    watch, schedule = stage.watch, stage.schedule
    await watch.begin(
        "1 of 4  As Kubernetes does it",
        "A Service balances connections. The web front keeps one gRPC connection to the voting service.",
    )
    await watch.watch(schedule.settle_s, "settling")
    first = watch.now()
    await watch.watch(schedule.kubernetes_s, "each connection goes to one pod")
    rows = watch.since(first)
    top = _row(rows, stage.busiest(rows))
    broken = [] if top.share == 1 else [f"more than one pod got calls: {_shares(rows)}"]
    shown = f"{top.pod} got every one of {top.calls:,} calls; the two others stood idle."
    return stage.conclude(rows, shown, broken)


async def through_the_proxy(stage: Stage) -> tuple[Verdict, Pod, float]:
    """The same connection, balanced call by call: all pods get calls. Returns the busiest and its share, too."""
    watch, schedule = stage.watch, stage.schedule
    await watch.begin(
        "2 of 4  Through the proxy",
        "The same web front with the same one connection, now to the proxy, which picks a pod for each call.",
    )
    first = watch.now()
    await watch.watch(schedule.proxy_s, "each call goes to a pod that answers fast")
    rows = watch.since(first)
    least = min(_row(rows, pod).share for pod in stage.application.pods)
    broken = [] if least >= LEAST_SHARE else [f"a pod got less than {LEAST_SHARE:.0%}: {_shares(rows)}"]
    shown = f"All three pods work: {_shares(rows)}."
    busiest = stage.busiest(rows)
    return stage.conclude(rows, shown, broken), busiest, _row(rows, busiest).share


async def one_pod_is_slow(stage: Stage, pod: Pod, share_before: float) -> tuple[Verdict, Pod]:
    """`pod` takes 50 ms longer for each answer: its share falls. Returns the busiest of the others, too."""
    watch, schedule = stage.watch, stage.schedule
    await watch.begin("3 of 4  One pod is slow", f"{pod.name}, the busiest, now takes 50 ms longer for each answer.")
    stage.application.slow_down(pod)
    watch.states[pod.name] = "slow"
    await watch.watch(schedule.settle_s, f"{pod.name} has become slow")
    first = watch.now()
    await watch.watch(schedule.slow_s, f"{pod.name} is slow")
    rows = watch.since(first)
    share = _row(rows, pod).share
    still = f"{pod.name} still gets {share:.1%} of the calls, it had {share_before:.0%}"
    broken = [] if share < share_before * MOST_KEPT else [still]
    shown = f"The share of {pod.name} fell from {share_before:.0%} to {share:.1%}."
    verdict = stage.conclude(rows, shown, broken)
    stage.application.speed_up(pod)
    watch.states[pod.name] = "up"
    return verdict, stage.busiest(rows)


async def one_pod_leaves_and_returns(stage: Stage, pod: Pod, proxy: Program) -> Verdict:
    """`pod` is deleted as Kubernetes deletes one, and comes back: no call fails."""
    application, watch, schedule = stage.application, stage.watch, stage.schedule
    others = [other for other in application.pods if other is not pod]
    await watch.begin(
        "4 of 4  One pod is killed and comes back",
        f"{pod.name}, the busiest, is deleted as Kubernetes does it: the proxy is told that it leaves, then\n"
        "it gets SIGTERM. Later it starts again at the same address.",
    )
    first = watch.now()
    watch.states[pod.name] = "leaving"
    application.set_endpoints(proxy, others)
    await watch.watch(schedule.leaving_s, f"{pod.name} is leaving")
    watch.states[pod.name] = "away"
    await application.stop_pod(pod)
    gone = watch.now()
    await watch.watch(schedule.away_s, f"{pod.name} is away")
    calls_while_away = _row(watch.since(gone), pod).calls
    await application.start_pod(pod)
    application.set_endpoints(proxy, application.pods)
    watch.states[pod.name] = "up"
    back = watch.now()
    waited_s = 0.0
    while not _row(watch.since(back), pod).calls and waited_s < schedule.back_timeout_s:
        await watch.watch(1.0, f"{pod.name} is back")
        waited_s += 1.0
    await watch.watch(schedule.back_s, f"{pod.name} is back")
    calls_after = _row(watch.since(back), pod).calls
    rows = watch.since(first)
    broken = [] if calls_after else [f"{pod.name} got no call within {waited_s:.0f} s of its return"]
    if calls_while_away:
        broken.append(f"{pod.name} got {calls_while_away} calls while it was away")
    shown = (
        f"{rows[-1].calls:,} calls, not one failed but the {rows[-1].refused} votes for :doughnut: that are "
        f"meant to; {pod.name} was away and has had {calls_after} calls since."
    )
    return stage.conclude(rows, shown, broken)


def _row(rows: list[Figures], pod: Pod) -> Figures:
    return next(row for row in rows if row.pod == pod.name)


def _shares(rows: list[Figures]) -> str:
    return ", ".join(f"{row.pod} {row.share:.0%}" for row in rows if row.pod != ALL_PODS)
