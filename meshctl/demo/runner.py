"""The demo from start to end: sets the stage, runs the phases in turn, says what held, stops everything."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from meshctl.demo import phases
from meshctl.demo.application import Application
from meshctl.demo.display import Display, Verdict
from meshctl.demo.phases import Schedule, Stage
from meshctl.demo.programs import ProgramError, Programs
from meshctl.demo.watch import Watch

CHECKOUT = Path(__file__).resolve().parents[2]
# Longer than the programs' own grace period of 5 s.
_STOP_TIMEOUT_S = 8.0
_INTERRUPTED = 130


def run_demo(keep: bool, schedule: Schedule, checkout: Path) -> int:
    """Run the demo of the repository at `checkout`; return the exit status, as `meshctl.demo.run` does."""
    sources = checkout / "deploy" / "demo"
    if not (sources / "web.py").is_file():
        print(
            f"meshctl demo runs from a checkout of the repository: there is no {sources}/web.py",
            file=sys.stderr,
        )
        return 1
    work_dir = Path(tempfile.mkdtemp(prefix="meshctl-demo-"))
    display = Display()
    try:
        status = asyncio.run(_run(keep, schedule, sources, work_dir, display))
    except (KeyboardInterrupt, asyncio.CancelledError):
        status = _INTERRUPTED
    except SystemExit:  # by rich, when who read the output has gone
        shutil.rmtree(work_dir, ignore_errors=True)
        raise
    except (ProgramError, OSError) as error:
        display.close()
        print(f"The demo could not go on: {error}", file=sys.stderr)
        status = 1
    finally:
        display.close()
    if status == 1:
        print(f"What the programs wrote is in {work_dir}", file=sys.stderr)
    else:
        shutil.rmtree(work_dir, ignore_errors=True)
    return status


async def _run(keep: bool, schedule: Schedule, sources: Path, work_dir: Path, display: Display) -> int:
    task = asyncio.current_task()
    assert task is not None
    # Ctrl-C cancels already; an end from outside must stop the programs, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with Programs(work_dir, _STOP_TIMEOUT_S) as programs:
        application = Application(programs, sources, work_dir, schedule.votes_per_s)
        stage = Stage(application, Watch(application, programs, display), schedule)
        display.say("A web front, its bot and three voting pods: emoji are voted for over gRPC.", "bold")
        display.say("Votes for :doughnut: fail on purpose and have a column; failed is what else fails.")
        await application.start_services()

        verdicts: dict[str, Verdict] = {}
        balancer = await application.start_connection_balancer()
        web, bot = await application.start_web(through_proxy=False), await application.start_bot()
        verdicts["As Kubernetes does it, one pod gets every call"] = await phases.as_kubernetes_does(stage)
        bots = [await programs.stop(bot)]
        await programs.stop(web)
        await programs.stop(balancer)

        proxy = await application.start_proxy()
        web, bot = await application.start_web(through_proxy=True), await application.start_bot()
        verdict, pod, share = await phases.through_the_proxy(stage)
        verdicts["Through the proxy, all three get calls"] = verdict
        verdict, pod = await phases.one_pod_is_slow(stage, pod, share)
        verdicts["A slow pod gets few calls"] = verdict
        verdict = await phases.one_pod_leaves_and_returns(stage, pod, proxy)
        verdicts["A pod is killed and comes back without a failed call"] = verdict
        bots.append(await programs.stop(bot))
        verdicts["The bot, too, saw no vote fail that should not"] = Verdict(
            not any(bots), f"the bots ended with status {bots}"
        )
        display.summary(verdicts)
        if keep:
            await _keep_running(stage, display)
        return 0 if all(verdict.held for verdict in verdicts.values()) else 1


async def _keep_running(stage: Stage, display: Display) -> None:
    """Show the table until Ctrl-C or SIGTERM, which now are no interruption but the end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    application, watch = stage.application, stage.watch
    await application.start_bot()
    await watch.begin(
        "It runs on until Ctrl-C",
        f"The page: http://{application.web_address}/\n"
        f"The proxy: http://{application.admin_address}/metrics and /endpoints",
    )
    while not stop.is_set():
        await watch.watch(0.5, "running on")
    display.close()
