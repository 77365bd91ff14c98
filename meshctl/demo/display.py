"""How the demo shows itself: a live table on a terminal, lines where there is none.

Either way each phase leaves its table and its verdict behind, so that at the end the problem and the cure
stand below each other. Knows nothing of processes or measurements.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meshctl.demo.figures import ALL_PODS, Figures

_BAR_CELLS = 20
_LINE_WIDTH = 100
_LINES_EVERY_S = 2.0
_STATE_STYLES = {"up": "green", "slow": "yellow", "leaving": "yellow", "away": "red"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what a phase is to show held, and the sentence that says so with its figures."""

    held: bool
    text: str


class Display:
    """Shows one phase at a time."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._on_terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        if not self._on_terminal:
            self._console = Console(highlight=False, width=_LINE_WIDTH, no_color=True, file=sys.stdout)
        self._live: Live | None = None
        self._title = ""
        self._last_line_s = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Print a paragraph."""
        self._console.print(Text(text, style))

    def begin(self, title: str, explanation: str) -> None:
        """Start a phase."""
        self._title = title
        self._console.print(Text(f"\n{title}", "bold"))
        self._console.print(Text(explanation, "dim"))
        if self._on_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def update(self, rows: list[Figures], states: Mapping[str, str], note: str) -> None:
        """Show the figures of this moment; `note` says what is going on."""
        if self._live is not None:
            self._live.update(Group(_table(rows, states), Text(note, "dim")), refresh=True)
        elif time.monotonic() - self._last_line_s >= _LINES_EVERY_S:
            self._last_line_s = time.monotonic()
            self._console.print(Text(_line(rows, states, note)), soft_wrap=True)

    def end(self, rows: list[Figures], states: Mapping[str, str], verdict: Verdict) -> None:
        """End the phase: print its table and its verdict."""
        self.close()
        self._console.print(_table(rows, states))
        self._console.print(_verdict_text(verdict))

    def summary(self, verdicts: Mapping[str, Verdict]) -> None:
        """Print all verdicts, by the title of their phase."""
        self._console.print()
        for title, verdict in verdicts.items():
            style = "green" if verdict.held else "bold red"
            self._console.print(Text(f"{'✓' if verdict.held else '✗'} {title}", style))

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _verdict_text(verdict: Verdict) -> Text:
    mark, style = ("✓", "green") if verdict.held else ("✗", "bold red")
    return Text(f"{mark} {verdict.text}", style)


def _table(rows: list[Figures], states: Mapping[str, str]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold", show_edge=False)
    table.add_column("pod", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for heading in ("calls/s", "success", "p50 ms", "p95 ms", "p99 ms", "doughnut", "failed", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR_CELLS)
    for row in rows:
        table.add_row(*_cells(row, states.get(row.pod, "")), style="bold" if row.pod == ALL_PODS else "")
    return table


def _cells(row: Figures, state: str) -> list[Text | str]:
    return [
        row.pod,
        Text(state, _STATE_STYLES.get(state, "")),
        f"{row.calls_per_s:.0f}",
        "–" if row.success is None else f"{row.success:.1%}",
        *(_milliseconds(value_ms) for value_ms in (row.p50_ms, row.p95_ms, row.p99_ms)),
        str(row.refused),
        Text(str(row.failed), "bold red" if row.failed else ""),
        f"{row.share:.1%}",
        Text("█" * round(row.share * _BAR_CELLS) if row.pod != ALL_PODS else "", "cyan"),
    ]


def _milliseconds(value_ms: float | None) -> str:
    return "–" if value_ms is None else f"{value_ms:.1f}"


def _line(rows: list[Figures], states: Mapping[str, str], note: str) -> str:
    pods = [
        f"{row.pod}{f' ({state})' if (state := states.get(row.pod, 'up')) != 'up' else ''} "
        f"{row.calls_per_s:.0f}/s {row.share:.0%}"
        for row in rows
        if row.pod != ALL_PODS
    ]
    everything = rows[-1]
    return (
        f"{note}: {', '.join(pods)}; p50 {_milliseconds(everything.p50_ms)} ms,"
        f" p99 {_milliseconds(everything.p99_ms)} ms, failed {everything.failed}"
    )
