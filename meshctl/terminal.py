"""Text for terminals: colours where they are wanted, and tables.

A colour is a hint and never the only one: what it says stands in words or signs too. Off a terminal, and where NO_COLOR
is set to anything (https://no-color.org) or TERM is "dumb", there is none.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)


def painted(text: str, colour: str | None = None, *, bold: bool = False, stream: TextIO | None = None) -> str:
    """`text` in a colour, or bold, if `stream` (stdout) shows that."""
    return click.style(text, fg=colour, bold=bold or None) if has_colours(stream or sys.stdout) else text


def sign(wanted: str, plain: str, *, stream: TextIO | None = None) -> str:
    """`wanted`, or `plain` where the stream's encoding does not have it."""
    try:
        wanted.encode((stream or sys.stdout).encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return wanted


def has_colours(stream: TextIO) -> bool:
    """Whether colours are wanted on `stream`."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Aligned lines, the heads first. Numbers stand at the right of their column, an empty cell is "-"."""
    cells = [[_cell(value) for value in row] for row in rows]
    are_numbers = [all(_is_number(row[index]) for row in cells) and bool(cells) for index in range(len(heads))]
    widths = [max(len(row[index]) for row in (list(heads), *cells)) for index in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ).rstrip()
        for row in (list(heads), *cells)
    ]


def show_json(value: Any) -> None:
    """Prints JSON for programs."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.rstrip("%").replace(".", "", 1).isdecimal()
