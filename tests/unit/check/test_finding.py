"""How a check is run: what it needs, what could not be read, what its problems make of it."""

import dataclasses
from collections.abc import Iterator

from meshctl.check.finding import Check, Note, NotMeantError, Problem, Status, Unread, known, run
from meshctl.check.report import exit_code
from meshctl.check.stages import AFTER, BEFORE
from tests.unit.check.facts import well

Found = Iterator[Problem | Note]


def _well(_: object) -> Found:
    yield Note("three")
    yield Note("all")


def _wrong(_: object) -> Found:
    yield Problem("a", "mend a")
    yield Problem("b", "mend b", warning=True)


def _doubtful(_: object) -> Found:
    yield Problem("b", "mend b", warning=True)


def _unread(_: object) -> Found:
    known(Unread("forbidden"))
    yield Problem("never", "told")


def _not_meant(_: object) -> Found:
    yield Problem("never", "told")
    raise NotMeantError("there is none here")


ALL = (
    Check("well", "all is well", _well),
    Check("wrong", "nothing is wrong", _wrong, ("well",)),
    Check("doubtful", "nothing is doubtful", _doubtful),
    Check("unread", "it can be read", _unread, ("doubtful",)),
    Check("not-meant", "it is there", _not_meant),
    Check("after-wrong", "-", _well, ("wrong",)),
    Check("after-unread", "-", _well, ("unread",)),
    Check("after-skipped", "-", _well, ("after-wrong",)),
)


def test_the_status_follows_from_what_was_found() -> None:
    results = {result.name: result for result in run(ALL, None, {})}
    assert {name: (result.status.value, result.note) for name, result in results.items()} == {
        "well": ("ok", "three, all"),
        "wrong": ("failed", ""),
        "doubtful": ("warning", ""),
        "unread": ("unknown", "forbidden"),
        "not-meant": ("skipped", "there is none here"),
        "after-wrong": ("skipped", "needs wrong"),
        "after-unread": ("skipped", "needs unread"),
        "after-skipped": ("skipped", "needs after-wrong"),
    }
    assert [problem.what for problem in results["wrong"].problems] == ["a", "b"]
    assert results["wrong"].link == "docs/troubleshooting.md#wrong"


def test_a_check_may_need_one_that_ran_before() -> None:
    before = {result.name: result for result in run(ALL[:2], None, {})}
    after = [Check("x", "-", _well, ("well",)), Check("y", "-", _well, ("wrong",))]
    assert [result.status for result in run(after, None, before)] == [Status.OK, Status.SKIPPED]


def test_exit_codes() -> None:
    by_status = {result.status: result for result in run(ALL, None, {})}
    assert exit_code([]) == 0
    assert exit_code([by_status[Status.OK], by_status[Status.WARNING], by_status[Status.SKIPPED]]) == 0
    assert exit_code([by_status[Status.OK], by_status[Status.UNKNOWN]]) == 2
    assert exit_code(by_status.values()) == 1


def test_what_a_check_needs_comes_before_it_and_names_are_unique() -> None:
    for stages in (BEFORE, AFTER):
        seen: set[str] = set()
        for check in (check for stage in stages for check in stage.checks):
            assert check.name not in seen
            assert set(check.needs) <= seen, f"{check.name} needs what comes later"
            seen.add(check.name)


def test_an_installation_that_is_well_passes_every_check() -> None:
    results = [result for stage in AFTER for result in run(stage.checks, well(), _all_well())]
    assert {result.name: result.problems for result in results if result.status is not Status.OK} == {}


def test_facts_that_were_not_read_make_no_check_fail() -> None:
    facts = well()
    for field in dataclasses.fields(facts):
        if isinstance(field.default, Unread):
            setattr(facts, field.name, field.default)
    results = [result for stage in (*BEFORE, *AFTER) for result in run(stage.checks, facts, _all_well())]
    assert {result.status for result in results} <= {Status.UNKNOWN, Status.SKIPPED, Status.OK}
    assert sum(result.status is Status.UNKNOWN for result in results) > 5


def _all_well() -> dict:
    names = [check.name for stage in (*BEFORE, *AFTER) for check in stage.checks]
    return {result.name: result for result in run([Check(name, "-", _well) for name in names], None, {})}
