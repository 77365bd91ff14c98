"""Results of checks as text for people, as JSON for programs, and as an exit code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from meshctl.check.finding import Problem, Result, Status
from meshctl.terminal import painted, sign

MOST_SHOWN: Final = 10  # problems of one check, as text

SIGNS: Final = {
    Status.OK: ("✓", "+", "green"),
    Status.WARNING: ("!", "!", "yellow"),
    Status.FAILED: ("✗", "x", "red"),
    Status.UNKNOWN: ("?", "?", "yellow"),
    Status.SKIPPED: ("-", "-", "bright_black"),
}
"""A sign for each status, the same for terminals that know ASCII alone, and its colour."""

EXIT_OK: Final = 0
EXIT_WRONG: Final = 1
EXIT_UNKNOWN: Final = 2


def lines(result: Result) -> Iterator[str]:
    """What is told of one check."""
    wanted, plain_sign, colour = SIGNS[result.status]
    without = {Status.UNKNOWN: "not known", Status.SKIPPED: "not checked"}.get(result.status, "")
    told = ": ".join(part for part in (without, result.note) if part)
    yield f"{painted(sign(wanted, plain_sign), colour)} {result.says}{f' ({told})' if told else ''}"
    shown = result.problems[:MOST_SHOWN]
    for hint, problems in groupby(shown, key=lambda problem: problem.hint):
        yield from (f"    {problem.what}" for problem in problems)
        yield f"    {painted(sign('→', '->'), 'cyan')} {hint}"
    if more := len(result.problems) - len(shown):
        yield f"    and {more} more: -o json lists all"
    if result.problems:
        yield f"    {painted(result.link, 'bright_black')}"


def summary(results: Sequence[Result]) -> str:
    """One line at the end."""
    counts = {status: sum(1 for each in results if each.status is status) for status in Status}
    words = {
        Status.OK: "well",
        Status.WARNING: "to look at",
        Status.FAILED: "wrong",
        Status.UNKNOWN: "not known",
        Status.SKIPPED: "not checked",
    }
    return ", ".join(
        painted(f"{counts[status]} {words[status]}", SIGNS[status][2]) for status in Status if counts[status]
    )


def exit_code(results: Iterable[Result]) -> int:
    """0: nothing is wrong; 1: something is; 2: nothing that is known, and not all could be checked."""
    statuses = {each.status for each in results}
    if Status.FAILED in statuses:
        return EXIT_WRONG
    return EXIT_UNKNOWN if Status.UNKNOWN in statuses else EXIT_OK


def plain(groups: Sequence[tuple[str, Sequence[Result]]]) -> dict[str, Any]:
    """For JSON."""
    everything = [each for _, results in groups for each in results]
    return {
        "ok": exit_code(everything) == EXIT_OK,
        "checks": [
            {
                "group": title,
                "name": each.name,
                "says": each.says,
                "status": each.status.value,
                "note": each.note,
                "problems": [_problem(problem) for problem in each.problems],
                "link": each.link,
            }
            for title, results in groups
            for each in results
        ],
    }


def _problem(problem: Problem) -> dict[str, Any]:
    return {"what": problem.what, "hint": problem.hint, "severity": "warning" if problem.warning else "error"}
