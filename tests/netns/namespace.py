"""Network namespaces: made, entered, and removed with whatever still runs in them.

Their names carry the process id of the test run, so that runs beside each other do not clash; `sweep` removes what
a run that was killed has left behind. Needs root, iproute2 and setpriv (util-linux).
"""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.process import ROOT, Place
from tests.support.waiting import wait_until

PREFIX = "meshctl-test"
ROOT_UID = 0
CLONE_NEWNET = 0x40000000  # sched.h
TIMEOUT_S = 60
LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class Namespace:
    """A network namespace with its loopback up; a context manager that removes it."""

    def __init__(self, name: str) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{name}"
        run_here(["ip", "netns", "add", self.name])
        try:
            self.ip("link set lo up")
        except BaseException:
            self.close()
            raise

    def ip(self, *commands: str) -> None:
        """Runs commands of ip(8) in it, in one go: `ip("link set lo up", ...)`."""
        run_here(["ip", "-n", self.name, "-batch", "-"], text="".join(f"{command}\n" for command in commands))

    def run(self, command: Sequence[str], uid: int = ROOT_UID, text: str = "") -> str:
        """Runs a command in it to its end and returns its stdout; AssertionError unless it exits with 0."""
        return run_here([*self.place(uid).prefix, *command], text)

    def place(self, uid: int = ROOT_UID) -> Place:
        """Where a process of user `uid` runs in it.

        Such a user may read every file, as the interpreter and the tree under test may be in a directory that is
        root's alone; it has no other privilege.
        """
        prefix = ["ip", "netns", "exec", self.name]
        if uid != ROOT_UID:
            readable = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
            prefix += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *readable]
        return Place(tuple(prefix), self.entered)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, the sockets this thread makes belong to the namespace, and stay there afterwards."""
        with Path("/proc/thread-self/ns/net").open() as before, Path("/run/netns", self.name).open() as inside:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def pids(self) -> set[int]:
        """The processes that are in it."""
        return set(map(int, run_here(["ip", "netns", "pids", self.name]).split()))

    def listens(self, port: int) -> bool:
        """Whether a TCP socket listens on `port`, of either family; without connecting to it."""
        with self.entered():
            tables = [Path("/proc/thread-self/net", name) for name in ("tcp", "tcp6")]
            rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:]]
        return any(row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port for row in rows)

    def close(self) -> None:
        """Removes it, and kills what still runs in it."""
        remove(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def enter(name: str) -> None:
    """From now on, this thread and what it starts are in the namespace called `name`."""
    with Path("/run/netns", name).open() as inside:
        _set_namespace(inside.fileno())


def remove(name: str) -> None:
    """Kills what runs in the namespace called `name`, by process id, and removes it."""

    def emptied() -> bool:
        pids = run_here(["ip", "netns", "pids", name]).split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        return not pids

    wait_until(emptied, f"the end of the processes in {name}")
    run_here(["ip", "netns", "delete", name])


def sweep() -> list[str]:
    """Removes the namespaces of test runs that are no more; returns their names."""
    removed = []
    for line in run_here(["ip", "netns", "list"]).splitlines():
        name = line.split()[0]
        found = re.fullmatch(rf"{PREFIX}-([0-9]+)-.*", name)
        if found and not Path("/proc", found[1]).exists():
            with contextlib.suppress(AssertionError):  # another run that starts now may remove it too
                remove(name)
                removed.append(name)
    return removed


def run_here(command: Sequence[str], text: str = "") -> str:
    """Runs a command to its end and returns its stdout; AssertionError with its stderr unless it exits with 0."""
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr}{done.stdout}")
    return done.stdout


def _set_namespace(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
