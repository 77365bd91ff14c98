"""Watching the application: reads what the web front counts, shows it, keeps what the verdicts need.

Knows the counters and the display, not what a phase is to prove.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from meshctl.demo.application import Application
from meshctl.demo.display import Display, Verdict
from meshctl.demo.figures import ALL_PODS, Figures, Snapshot, figures_between
from meshctl.demo.programs import Programs

_POLL_S = 0.5
# The live table shows the figures of the last seconds: more of them would hide a change, fewer are noise.
_WINDOW_POLLS = 6


class Watch:
    """The eyes of one run. `states` is what the table says of each pod, by its name."""

    def __init__(self, application: Application, programs: Programs, display: Display) -> None:
        self._application = application
        self._programs = programs
        self._display = display
        self._history: list[Snapshot] = []
        self.states = {pod.name: "up" for pod in application.pods}

    async def begin(self, title: str, explanation: str) -> None:
        """Start a phase: what is counted as failed in its table is counted from here."""
        self._display.begin(title, explanation)
        self._history = [await self._read()]

    async def watch(self, duration_s: float, note: str) -> None:
        """Show the table for `duration_s` seconds.

        Raises ProgramError when a program ends, OSError when the web front does not answer.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + duration_s
        while (left_s := end_s - loop.time()) > 0:
            await asyncio.sleep(min(_POLL_S, left_s))
            self._programs.check()
            self._history.append(await self._read())
            self._show(note)

    def now(self) -> Snapshot:
        """Return the latest snapshot."""
        return self._history[-1]

    def since(self, first: Snapshot) -> list[Figures]:
        """Return the table's rows from `first` until now; the last row is all pods together."""
        return figures_between(first, self.now(), self.states)

    def failures(self) -> dict[str, int]:
        """Return this phase's calls, to any service, that failed and were not meant to, by their text."""
        before = self._history[0].failures
        grown = {text: count - before.get(text, 0) for text, count in self.now().failures.items()}
        return {text: count for text, count in grown.items() if count}

    def end(self, rows: list[Figures], verdict: Verdict) -> None:
        """End the phase: leave its table and its verdict on the screen."""
        self._display.end(rows, self.states, verdict)

    async def _read(self) -> Snapshot:
        return Snapshot.parse(asyncio.get_running_loop().time(), await self._application.stats())

    def _show(self, note: str) -> None:
        whole = {row.pod: row for row in self.since(self._history[0])}
        recent = self.since(self._history[-_WINDOW_POLLS - 1 :][0])
        rows = [
            replace(row, refused=whole[row.pod].refused, failed=whole[row.pod].failed)
            for row in recent
            if row.pod in whole
        ]
        assert rows[-1].pod == ALL_PODS
        self._display.update(rows, self.states, note)
