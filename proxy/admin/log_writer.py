"""Appends lines to a file from a thread of its own, so that a slow disk holds up nobody else.

Owns the file and a bound on what waits for it. Lines that do not fit are refused, lines that the file would
not take are lost and counted; neither is ever an exception for the caller. What the lines say is not its
concern.
"""

import atexit
import enum
import logging
import os
import queue
import select
import threading
from collections.abc import Callable

MAX_WAITING_BYTES = 4 * 1024 * 1024
EXIT_GRACE_S = 2.0
STDOUT = 1

log = logging.getLogger("meshctl")


class _Order(enum.Enum):
    REOPEN = enum.auto()
    CLOSE = enum.auto()


class LogWriter:
    """Appends to the file at `path`, or to stdout if that is "-". Used from one thread, the event loop's.

    The file is opened, and made if need be, by the writing thread as it starts, so that a wrong path is told then;
    while that fails it is tried again with every write. `note` makes the line that says how many are missing.
    """

    def __init__(self, path: str, note: Callable[[int], bytes], max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._path = path
        self._note = note
        self._max_waiting_bytes = max_waiting_bytes
        self._orders: queue.SimpleQueue[bytes | _Order] = queue.SimpleQueue()
        self._accepted_bytes = 0
        self._refused_lines = 0
        # Only the writing thread changes these; the other one reads them.
        self._settled_bytes = 0
        self._lost_lines = 0
        self._noted_lines = 0
        self._fd: int | None = None
        self._problem = ""
        self._ends_inside_line = False
        # A daemon, for a disk that hangs must not keep the process from ending; what waits gets a moment at exit.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        atexit.register(self._thread.join, EXIT_GRACE_S)

    @property
    def is_full(self) -> bool:
        """Whether `write` would refuse now."""
        return self._accepted_bytes - self._settled_bytes >= self._max_waiting_bytes

    @property
    def missing_lines(self) -> int:
        """Lines that should be in the file and are not, since the start."""
        return self._refused_lines + self._lost_lines

    def write(self, lines: bytes) -> None:
        """Takes whole lines to be written, or refuses all of them because too much waits already."""
        if self.is_full:
            self.refuse(lines.count(b"\n"))
        else:
            self._accepted_bytes += len(lines)
            self._orders.put(lines)

    def refuse(self, lines: int) -> None:
        """Counts lines that the caller did not even make."""
        self._refused_lines += lines

    def reopen(self) -> None:
        """What is written from now on goes to the file that then has the name."""
        self._orders.put(_Order.REOPEN)

    def close(self) -> None:
        """Ends the thread once what waits is written. Returns at once."""
        self._orders.put(_Order.CLOSE)

    def _run(self) -> None:
        self._append(b"")
        while (order := self._orders.get()) is not _Order.CLOSE:
            if isinstance(order, bytes):
                self._append(order)
                self._settled_bytes += len(order)
            else:
                self._close_file()
                self._append(b"")
        if self.missing_lines > self._noted_lines:
            self._append(b"")
        self._close_file()
        atexit.unregister(self._thread.join)

    def _append(self, lines: bytes) -> None:
        """Writes `lines`, after a note if some are missing before them."""
        missing = self.missing_lines - self._noted_lines
        data = (self._note(missing) if missing else b"") + lines
        if self._ends_inside_line:
            data = b"\n" + data
        left = memoryview(data)
        try:
            fd = self._file()
            while left:
                left = left[_write_some(fd, left) :]
        except OSError as error:
            self._tell(f"cannot write to {self._path}: {error.strerror}")
        else:
            self._problem = ""
        if len(left) < len(data):
            self._ends_inside_line = not data[: len(data) - len(left)].endswith(b"\n")
        if len(left) <= len(lines):
            self._noted_lines += missing
        self._lost_lines += bytes(left[-len(lines) :]).count(b"\n") if lines else 0

    def _file(self) -> int:
        if self._fd is None:
            if self._path == "-":
                self._fd = STDOUT
            else:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o640)
        return self._fd

    def _close_file(self) -> None:
        if self._fd not in (None, STDOUT):
            try:
                os.close(self._fd)
            except OSError as error:  # on some file systems the first to tell of a failed write
                self._tell(f"cannot close {self._path}: {error.strerror}")
            self._ends_inside_line = False
        self._fd = None

    def _tell(self, problem: str) -> None:
        if problem != self._problem:  # not with every write
            self._problem = problem
            log.warning("access log: %s", problem)


def _write_some(fd: int, data: memoryview) -> int:
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:  # a stdout that somebody else has made non-blocking
            select.select([], [fd], [])
