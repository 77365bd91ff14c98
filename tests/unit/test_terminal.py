"""Tables, and when there are colours."""

import io

import pytest

from meshctl.terminal import has_colours, painted, sign, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colours_are_for_terminals() -> None:
    assert has_colours(Terminal())
    assert not has_colours(io.StringIO())
    assert painted("x", "red", stream=Terminal()) == "\x1b[31mx\x1b[0m"
    assert painted("x", "red", stream=io.StringIO()) == "x"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb")])
def test_colours_can_be_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not has_colours(Terminal())


def test_an_empty_no_color_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert has_colours(Terminal())


def test_signs_that_the_encoding_lacks_have_a_plain_form() -> None:
    narrow, wide = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for encoding in ("latin-1", "utf-8"))
    assert sign("✓", "+", stream=narrow) == "+"
    assert sign("✓", "+", stream=wide) == "✓"


def test_a_table_is_aligned_numbers_to_the_right() -> None:
    rows = [("web", 5, 0.25, "1.5%", None), ("database", 10, 12.0, "100.0%", "")]
    assert table(("NAME", "N", "MS", "SHARE", "ZONE"), rows) == [
        "NAME       N    MS   SHARE  ZONE",
        "web        5   0.2    1.5%     -",
        "database  10  12.0  100.0%     -",
    ]


def test_a_table_without_rows_has_its_heads() -> None:
    assert table(("NAME", "N"), []) == ["NAME  N"]
