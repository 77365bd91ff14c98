"""What a check is, what it can find, and how one is run. Pure.

A check looks at facts and yields a `Problem` for each thing that is wrong, with how to mend it, and perhaps a `Note`
on what it found. Facts that could not be read make its result `unknown`, the failure of a check it needs `skipped`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

DOCS: Final = "docs/troubleshooting.md"

T = TypeVar("T")
F = TypeVar("F")


class Status(StrEnum):
    """How a check came out. `WARNING`: it works, but somebody should look at it."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Unread:
    """In the place of a fact that could not be read, why, and what to do about it (empty: nothing is known)."""

    why: str
    hint: str = ""


class UnknownError(Exception):
    """A check needs a fact that could not be read."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


class NotMeantError(Exception):
    """What a check is about is not part of this installation, and why."""


def known(fact: T | Unread) -> T:
    """The fact. Raises UnknownError."""
    if isinstance(fact, Unread):
        raise UnknownError(fact.why, fact.hint)
    return fact


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and how to mend it, each a sentence without an end. `warning`: it works all the same."""

    what: str
    hint: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """What a check found, a few words, where nothing is wrong with it."""

    text: str


@dataclass(frozen=True, slots=True)
class Check(Generic[F]):
    """`name` is its anchor in the documentation, `says` the sentence that is true if there is no problem."""

    name: str
    says: str
    find: Callable[[F], Iterable[Problem | Note]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """`note`: what was found, or for `unknown` and `skipped` why nothing was, unless a problem says it."""

    name: str
    says: str
    status: Status
    problems: tuple[Problem, ...] = ()
    note: str = ""

    @property
    def link(self) -> str:
        return f"{DOCS}#{self.name}"


def run(checks: Iterable[Check[F]], facts: F, before: Mapping[str, Result]) -> Iterator[Result]:
    """The results of `checks` in their order. `before` has those of earlier ones, by name."""
    results = dict(before)
    for check in checks:
        result = results[check.name] = _result(check, facts, results)
        yield result


def _result(check: Check[F], facts: F, before: Mapping[str, Result]) -> Result:
    for name in check.needs:
        if before[name].status not in (Status.OK, Status.WARNING):
            return Result(check.name, check.says, Status.SKIPPED, note=f"needs {name}")
    try:
        found = tuple(check.find(facts))
    except UnknownError as error:
        if not error.hint:
            return Result(check.name, check.says, Status.UNKNOWN, note=str(error))
        return Result(check.name, check.says, Status.UNKNOWN, (Problem(str(error), error.hint),))
    except NotMeantError as error:
        return Result(check.name, check.says, Status.SKIPPED, note=str(error))
    problems = tuple(each for each in found if isinstance(each, Problem))
    note = ", ".join(each.text for each in found if isinstance(each, Note))
    status = Status.OK
    if problems:
        status = Status.WARNING if all(problem.warning for problem in problems) else Status.FAILED
    return Result(check.name, check.says, status, problems, note)
