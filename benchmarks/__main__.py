"""The benchmarks' command line: which scenarios and peers, how many rounds, where the figures go."""

import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from benchmarks import install, machine, process, report, rounds
from benchmarks.peers import BY_NAME, Peer
from benchmarks.results import Results
from benchmarks.scenarios import (
    FULL,
    SMOKE,
    Scenario,
    churn,
    controller,
    http1,
    latency,
    open_streams,
    slow,
    stream,
    tcp,
    unary,
)

_MODULES = (unary, latency, stream, slow, churn, open_streams, http1, tcp, controller)
SCENARIOS = {module.SCENARIO.name: module.SCENARIO for module in _MODULES}
OURS = "meshctl"
RESULTS = Path(__file__).resolve().parent / "results"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--smoke", is_flag=True, help="About a second of each scenario; judges no timing, writes nothing.")
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Only this; repeatable.")
@click.option("--peers", "wanted", metavar="A,B", help=f"Only these of {', '.join(BY_NAME)}. Needs --output to write.")
@click.option("--rounds", "count", type=click.IntRange(1), default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Where to write, if not to results/.")
@click.option("--report", "only_report", is_flag=True, help="Measure nothing: write the report again from the JSON.")
def main(
    smoke: bool, names: Sequence[str], wanted: str | None, count: int, output: Path | None, only_report: bool
) -> None:
    """Measures the proxy beside its peers, in rounds.

    Exits with 1 when a call through our proxy failed, was lost or went to the wrong place, whatever the figures are.
    What goes wrong with a peer is said, and stands in the report.
    """
    if output is None and wanted is None and not smoke:
        output = RESULTS
    scenarios = [SCENARIOS[name] for name in names or SCENARIOS]
    if only_report:
        click.echo(report.write(list(SCENARIOS.values()), output or RESULTS))
        return
    peers = _peers(scenarios, wanted, smoke)
    if machine.is_busy() and not smoke:
        click.echo("The machine is not idle; figures will say so. Ratios suffer less than absolute times.")
    problems = 0
    for scenario in scenarios:
        made = _measure(scenario, peers, 1 if smoke else min(count, scenario.most_rounds or count), smoke)
        problems += sum(len(sample.problems) for sample in made.samples if sample.contender.startswith(OURS))
        if not smoke:
            click.echo("\n" + report.section(scenario, made))
        if output is not None and not smoke:
            made.save(output)
            report.write(list(SCENARIOS.values()), output)
    if problems:
        click.echo(f"{problems} problems of {OURS}, see above", err=True)
        sys.exit(1)


def _measure(scenario: Scenario, peers: list[Peer], count: int, smoke: bool) -> Results:
    pace = SMOKE if smoke else FULL
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    samples = rounds.run(scenario, peers, count, pace, click.echo)
    return Results(
        scenario=scenario.name,
        started=started,
        rounds=count,
        seconds=pace.measured_s,
        machine=machine.facts(),
        versions=machine.versions(peers),
        samples=samples,
    )


def _peers(scenarios: Sequence[Scenario], wanted: str | None, smoke: bool) -> list[Peer]:
    """The peers to measure, installed if they can be; those that are not are named and left out."""
    names = wanted.split(",") if wanted else list(BY_NAME)
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise click.BadParameter(f"no such peer: {', '.join(unknown)}", param_hint="--peers")
    # A list: the same program has another configuration in another scenario, and each is a peer.
    peers: list[Peer] = []
    for peer in (contender.peer for scenario in scenarios for case in scenario.cases for contender in case.contenders):
        if peer.name in names and peer not in peers:
            peers.append(peer)
    missing = install.ensure_load({scenario.load_program for scenario in scenarios} - {""}, click.echo)
    if missing:
        raise click.ClickException(f"load programs are missing: apt-get install {' '.join(missing)}")
    if not smoke:
        install.ensure_peers(peers, click.echo)
    for peer in peers:
        if not peer.installed():
            click.echo(f"{peer.name} is not installed: left out ({peer.template})")
    return [peer for peer in peers if peer.installed()]


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main(prog_name="python -m benchmarks")
    finally:
        process.stop_all()
