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
from meshctl.demo.programs import Program, ProgramError, Programs
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
        display.close()
        display.say("Interrupted.")
        status = _INTERRUPTED
    except (ProgramError, OSError) as error:
        display.close()
        print(f"The demo could not go on: {error}", file=sys.stderr)
        status = 1
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
        display.say("A web front votes for emoji over gRPC: three voting pods, a bot, about a minute.")
        display.say("The vote for :doughnut: fails, on purpose; failed counts what fails and must not.")
        await application.start_services()
        verdicts = await _without_proxy(stage, programs)
        proxy, bot, more = await _with_proxy(stage)
        verdicts |= more | _of_bot("the votes through the proxy", await programs.stop(bot))
        display.summary(verdicts)
        if keep:
            await _keep_running(stage, display)
        return 0 if all(verdict.held for verdict in verdicts.values()) else 1


async def _without_proxy(stage: Stage, programs: Programs) -> dict[str, Verdict]:
    balancer = await stage.application.start_connection_balancer()
    web = await stage.application.start_web(through_proxy=False)
    bot = await stage.application.start_bot()
    verdict = await phases.as_kubernetes_does(stage)
    bot_status = await programs.stop(bot)
    for program in (web, balancer):
        await programs.stop(program)
    return {"As Kubernetes does it": verdict} | _of_bot("bot, without the proxy", bot_status)
