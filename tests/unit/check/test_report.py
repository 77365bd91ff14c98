"""How results are told."""

import json

import pytest

from meshctl.check import report
from meshctl.check.finding import Problem, Result, Status

FAILED = Result("a", "all is well", Status.FAILED, (Problem("x", "mend"), Problem("y", "mend"), Problem("z", "other")))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_hint_is_told_once_for_problems_that_share_it() -> None:
    assert list(report.lines(FAILED)) == [
        "✗ all is well",
        "    x",
        "    y",
        "    → mend",
        "    z",
        "    → other",
        "    docs/troubleshooting.md#a",
    ]


@pytest.mark.parametrize(
    ("status", "note", "line"),
    [
        (Status.OK, "3", "✓ all is well (3)"),
        (Status.OK, "", "✓ all is well"),
        (Status.UNKNOWN, "forbidden", "? all is well (not known: forbidden)"),
        (Status.SKIPPED, "needs b", "- all is well (not checked: needs b)"),
    ],
)
def test_what_was_found_stands_beside(status: Status, note: str, line: str) -> None:
    assert list(report.lines(Result("a", "all is well", status, note=note))) == [line]


def test_what_is_not_known_has_its_hint_too() -> None:
    unknown = Result("a", "all is well", Status.UNKNOWN, (Problem("nobody answers", "wake them"),))
    assert list(report.lines(unknown)) == [
        "? all is well (not known)",
        "    nobody answers",
        "    → wake them",
        "    docs/troubleshooting.md#a",
    ]


def test_very_many_problems_are_cut_short_for_people_only() -> None:
    many = Result("a", "-", Status.FAILED, tuple(Problem(str(number), "mend") for number in range(25)))
    lines = list(report.lines(many))
    assert "    9" in lines
    assert "    10" not in lines
    assert "    and 15 more: -o json lists all" in lines
    (told,) = report.plain([("G", [many])])["checks"]
    assert len(told["problems"]) == 25


def test_json_says_all_there_is() -> None:
    warning = Result("b", "fine", Status.WARNING, (Problem("w", "look", warning=True),), "1 of 2")
    told = report.plain([("First", [FAILED]), ("Second", [warning])])
    assert json.loads(json.dumps(told)) == told
    assert told["ok"] is False
    assert told["checks"][1] == {
        "group": "Second",
        "name": "b",
        "says": "fine",
        "status": "warning",
        "note": "1 of 2",
        "problems": [{"what": "w", "hint": "look", "severity": "warning"}],
        "link": "docs/troubleshooting.md#b",
    }
    assert report.plain([("Second", [warning])])["ok"] is True


def test_the_summary_counts_each_status() -> None:
    ok = Result("c", "-", Status.OK)
    assert report.summary([ok, ok, FAILED]) == "2 well, 1 wrong"
