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

_BAR_CELLS = 11
# With its bars, the table needs 98 columns.
_WIDTH_FOR_BARS = 98
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
        self._began_s = self._last_line_s = time.monotonic()
        self._note = ""

    def say(self, text: str, style: str = "") -> None:
        """Print a paragraph."""
        self._console.print(Text(text, style))

    def begin(self, title: str, explanation: str) -> None:
        """Start a phase."""
        self._began_s = time.monotonic()
        self._console.print(Text(f"\n{title}", "bold"))
        self._console.print(Text(explanation, "dim"))
        if self._on_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def update(self, rows: list[Figures], states: Mapping[str, str], note: str) -> None:
        """Show the figures of this moment; `note` says what is going on."""
        if self._live is not None:
            elapsed_s = time.monotonic() - self._began_s
            note_line = Text(f"{elapsed_s:2.0f} s  {note}", "dim")
            self._live.update(Group(self._table(rows, states), note_line), refresh=True)
            return
        if note != self._note:
            self._note = note
            self.say(f"- {note}")
        if time.monotonic() - self._last_line_s >= _LINES_EVERY_S:
            self._last_line_s = time.monotonic()
            self._console.print(Text(_line(self._last_line_s - self._began_s, rows)), soft_wrap=True)

    def end(self, rows: list[Figures], states: Mapping[str, str], verdict: Verdict) -> None:
        """End the phase: print its table and its verdict."""
        self.close()
        self._console.print(self._table(rows, states))
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

    def _table(self, rows: list[Figures], states: Mapping[str, str]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("pod", "state"):
            table.add_column(heading, no_wrap=True)
        for heading in ("calls/s", "success", "p50 ms", "p95 ms", "p99 ms", "doughnut", "failed", "share"):
            table.add_column(heading, justify="right", no_wrap=True)
        with_bars = self._console.width >= _WIDTH_FOR_BARS
        if with_bars:
            table.add_column("", no_wrap=True, width=_BAR_CELLS)
        for row in rows:
            cells = _cells(row, states.get(row.pod, ""))
            if with_bars:
                bar = "" if row.pod == ALL_PODS else "█" * round(row.share * _BAR_CELLS)
                cells.append(Text(bar, "cyan"))
            table.add_row(*cells, style="bold" if row.pod == ALL_PODS else "")
        return table


def _verdict_text(verdict: Verdict) -> Text:
    mark, style = ("✓", "green") if verdict.held else ("✗", "bold red")
    return Text(f"{mark} {verdict.text}", style)


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
    ]


def _milliseconds(value_ms: float | None) -> str:
    return "–" if value_ms is None else f"{value_ms:.1f}"


def _line(elapsed_s: float, rows: list[Figures]) -> str:
    pods = "  ".join(f"{row.pod} {row.calls_per_s:3.0f}/s {row.share:4.0%}" for row in rows if row.pod != ALL_PODS)
    all_pods = rows[-1]
    p50, p99 = _milliseconds(all_pods.p50_ms), _milliseconds(all_pods.p99_ms)
    return f"{elapsed_s:3.0f} s  {pods}  p50 {p50}  p99 {p99} ms  failed {all_pods.failed}"
