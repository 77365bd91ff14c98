"""Runs scenarios in rounds: in each round every contender once, in an order that turns from round to round.

What drifts on a shared machine (clock speed, neighbours) then meets all contenders alike, and figures of one
round may be compared even when those of two rounds may not.
"""

import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass

from benchmarks.peers import Contender, Peer
from benchmarks.scenarios import Case, Measured, Pace, Scenario


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender, measured once. `contender` is its label; `values` are by metric key."""

    case: str
    contender: str
    round_number: int
    values: dict[str, float]
    problems: list[str]


def run(
    scenario: Scenario, peers: Collection[Peer], rounds: int, pace: Pace, say: Callable[[str], None]
) -> list[Sample]:
    """All samples of a scenario with these peers; `say` is told of each one as it comes."""
    samples: list[Sample] = []
    for case in scenario.cases:
        if pace.smoke and not case.in_smoke:
            continue
        contenders = [contender for contender in case.contenders if contender.peer in peers]
        for number in range(rounds):
            turn = number % max(1, len(contenders))
            of_round = []
            for contender in contenders[turn:] + contenders[:turn]:
                of_round.append(_measure(case, contender, number, pace))
                say(_line(scenario, of_round[-1], rounds))
            _add_differences(scenario, of_round)
            samples += of_round
    return samples


def _measure(case: Case, contender: Contender, number: int, pace: Pace) -> Sample:
    try:
        measured = case.measure(contender, pace)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        measured = Measured({}, [str(error)])
    return Sample(case.name, contender.label, number, measured.values, measured.problems)


def _add_differences(scenario: Scenario, samples: list[Sample]) -> None:
    direct = next((sample for sample in samples if sample.contender == "direct"), None)
    for new, old in scenario.over_direct:
        for sample in samples:
            if direct is not None and sample is not direct and old in sample.values and old in direct.values:
                sample.values[new] = sample.values[old] - direct.values[old]


def _line(scenario: Scenario, sample: Sample, rounds: int) -> str:
    figures = ", ".join(
        f"{metric.title} {sample.values[metric.key]:,.{metric.digits}f}"
        for metric in scenario.metrics
        if metric.key in sample.values
    )
    place = f"{scenario.name} {sample.case} [{sample.round_number + 1}/{rounds}]"
    wrong = "".join(f"  PROBLEM: {problem}" for problem in sample.problems)
    return f"{place:36} {sample.contender:22} {figures}{wrong}"
