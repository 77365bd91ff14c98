"""The access log: one JSON line per finished call, written off the hot path.

The data plane only appends a tuple to `plane.access_log`; every 100 ms what has gathered is written by a thread, so
that a slow disk never holds up a call. What the disk cannot keep up with is dropped, counted, and said in the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger("meshctl")

EVERY_S = 0.1
MOST_WAITING = 50_000  # entries; beyond it new ones are dropped

# The order of the data plane's tuple.
KEYS = (
    "time",
    "listener",
    "authority",
    "method",
    "path",
    "cluster",
    "endpoint",
    "pod",
    "http_status",
    "grpc_status",
    "classification",
    "flag",
    "duration_ms",
    "headers_ms",
    "request_bytes",
    "response_bytes",
    "attempts",
)


def line(entry: Sequence[Any]) -> str:
    """The JSON line (with its newline) of one entry of `plane.access_log`."""
    fields = dict(zip(KEYS, entry, strict=True))
    moment = datetime.fromtimestamp(fields["time"], UTC)
    fields["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if fields["grpc_status"] < 0:
        del fields["grpc_status"]
    if not fields["flag"]:
        del fields["flag"]
    fields["duration_ms"] = round(fields["duration_ms"] * 1000, 3)
    headers_s = fields["headers_ms"]
    fields["headers_ms"] = None if math.isnan(headers_s) else round(headers_s * 1000, 3)
    return json.dumps(fields, ensure_ascii=False) + "\n"


class AccessLog:
    """Drains a plane's entries into `path` ("-" is stdout) between `start` and `close`."""

    def __init__(self, plane: Any, path: str) -> None:
        self.path = path
        self.dropped = 0
        self._plane = plane
        self._file: TextIO | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to log."""
        self._plane.access_log = []
        self._task = asyncio.get_running_loop().create_task(self._run())

    def reopen(self) -> None:
        """The file was moved away: write to a new one of the same name."""
        file, self._file = self._file, None
        if file is not None and file is not sys.stdout:
            file.close()

    def close(self) -> None:
        """Stop logging; what has gathered is written."""
        if self._task is not None:
            self._task.cancel()
        entries, self._plane.access_log = self._plane.access_log or [], None
        self._write(entries)
        self.reopen()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            entries, self._plane.access_log = self._plane.access_log, []
            if not entries:
                continue
            writing = asyncio.to_thread(self._write, entries)
            task = asyncio.ensure_future(writing)
            while not task.done():
                await asyncio.wait([task], timeout=EVERY_S)
                self._bound()

    def _bound(self) -> None:
        over = len(self._plane.access_log) - MOST_WAITING
        if over > 0:
            del self._plane.access_log[MOST_WAITING:]
            self.dropped += over
            log.warning("access log: %d entries dropped so far, %s is too slow", self.dropped, self.path)

    def _write(self, entries: Sequence[Sequence[Any]]) -> None:
        try:
            if self._file is None:
                self._file = sys.stdout if self.path == "-" else Path(self.path).open("a", encoding="utf-8")
            self._file.write("".join(map(line, entries)))
            self._file.flush()
        except OSError as error:
            self.dropped += len(entries)
            log.warning("access log: %d entries lost: %s: %s", len(entries), self.path, error.strerror)
