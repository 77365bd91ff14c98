"""The results as Markdown: one section per scenario, and the machine on top."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import plot, results
from benchmarks.peers import BY_NAME
from benchmarks.results import Results
from benchmarks.scenarios import Metric, Scenario

OURS = "meshctl"
PLOT = "cpu_per_call.svg"
DISTURBED_PERCENT = 2.0

_HEAD = """# Benchmark results

Made by `make bench`; [how to read and repeat them](../README.md). Figures are medians over the rounds, with
the lowest and the highest in parentheses. Compare within a table; absolute times depend on the machine.
"""


def write(scenarios: Sequence[Scenario], directory: Path) -> Path:
    """Writes README.md and the plot from the JSON files there; scenarios without one are left out."""
    found = {
        s.name: results.load(directory / f"{s.name}.json") for s in scenarios if (directory / f"{s.name}.json").exists()
    }
    parts = [_HEAD]
    if "unary" in found:
        (directory / PLOT).write_text(plot.cpu_per_call(found["unary"]))
        parts.append(f"![CPU time per call, by proxy and load]({PLOT})\n")
    if found:
        parts.append(machine(list(found.values())))
    parts += [section(scenario, found[scenario.name]) for scenario in scenarios if scenario.name in found]
    file = directory / "README.md"
    file.write_text("\n".join(parts))
    return file


def section(scenario: Scenario, made: Results) -> str:
    """A scenario's text and tables."""
    cases = list(dict.fromkeys(sample.case for sample in made.samples))
    measured = {sample.contender for sample in made.samples}
    labels = dict.fromkeys(c.label for case in scenario.cases for c in case.contenders)
    contenders = [label for label in labels if label in measured]
    rounds = "1 round" if made.rounds == 1 else f"{made.rounds} rounds"
    parts = [f"## {scenario.title}\n", f"{scenario.text} {rounds}, {made.started}.\n"]
    if len(cases) > 1:
        for metric in scenario.metrics:
            parts += [f"### {metric.title}\n", _by_case(made, metric, cases, contenders)]
    else:
        parts.append(_by_metric(made, scenario.metrics, cases[0], contenders))
    parts += [_ratios(made, metric, cases, contenders) for metric in scenario.metrics if metric.compared]
    parts += _notes(made)
    return "\n".join(part for part in parts if part)


def machine(made: Sequence[Results]) -> str:
    """The facts of the machines, once if all scenarios ran on the same one."""
    parts = ["## Machine and programs\n"]
    groups: dict[str, list[str]] = {}
    for one in made:
        facts = {**one.machine, **one.versions}
        text = "".join(f"- {key.replace('_', ' ')}: {value}\n" for key, value in facts.items())
        groups.setdefault(text, []).append(one.scenario)
    for text, names in groups.items():
        if len(groups) > 1:
            parts.append(f"For {', '.join(names)}:\n")
        parts.append(text)
    return "\n".join(parts)


def _by_case(made: Results, metric: Metric, cases: list[str], contenders: list[str]) -> str:
    cases = _with_figure(made, metric, cases)
    rows = [[_title(contender), *(_cell(made, case, contender, metric) for case in cases)] for contender in contenders]
    return _table(["", *cases], [row for row in rows if any(row[1:])])


def _by_metric(made: Results, metrics: Sequence[Metric], case: str, contenders: list[str]) -> str:
    rows = [[_title(name), *(_cell(made, case, name, metric) for metric in metrics)] for name in contenders]
    return _table(["", *(metric.title for metric in metrics)], rows)


def _ratios(made: Results, metric: Metric, cases: list[str], contenders: list[str]) -> str:
    several = len(cases) > 1
    cases = _with_figure(made, metric, cases)
    rows = []
    for theirs in contenders:
        spreads = [results.ratio(made.samples, case, OURS, theirs, metric.key) for case in cases]
        if theirs != OURS and any(spreads):
            rows.append([_title(theirs), *(spread.text(2) if spread else "" for spread in spreads)])
    if not rows:
        return ""
    head = f"Ratio meshctl / peer of *{metric.title}*, taken in each round:\n\n"
    return head + _table(["", *(cases if several else ["meshctl / peer"])], rows)


def _with_figure(made: Results, metric: Metric, cases: list[str]) -> list[str]:
    """The cases that have this metric at all: not every figure makes sense of every load."""
    found = {sample.case for sample in made.samples if metric.key in sample.values}
    return [case for case in cases if case in found]


def _notes(made: Results) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = [
        f"- {s.contender}, {s.case}, round {s.round_number + 1}: {problem.splitlines()[-1]}"
        for s in made.samples
        for problem in s.problems
    ]
    disturbed = sum(sample.values.get("waited_percent", 0) > DISTURBED_PERCENT for sample in made.samples)
    if disturbed:
        notes.append(
            f"- In {disturbed} of {len(made.samples)} measurements the proxy waited for its core for "
            f"more than {DISTURBED_PERCENT:.0f} % of the time: something else ran there."
        )
    return ["Notes:\n", "\n".join(notes) + "\n"] if notes else []


def _cell(made: Results, case: str, contender: str, metric: Metric) -> str:
    found = results.spread(made.samples, case, contender, metric.key)
    return found.text(metric.digits) if found else ""


def _title(label: str) -> str:
    name, _, balancer = label.partition(" ")
    return f"{BY_NAME[name].title} {balancer}".strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|---{'|--:' * (len(head) - 1)}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"
