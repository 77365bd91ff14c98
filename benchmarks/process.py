"""Child processes: started on one core, measured from outside, and always stopped.

Each child leads a process group of its own, so that its workers are measured and stopped with it, and so
that Ctrl-C in the terminal reaches only the benchmark, which then stops them in order.
CPU time comes from `/proc/PID/task/*/schedstat`, in nanoseconds: the same quantity as the user and system
time of `/proc/PID/stat`, which counts in ticks of 10 ms. Kernels without it (CONFIG_SCHED_INFO) give ticks.
The time that threads were ready but had to wait for their core tells whether something else disturbed them.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

PROC = Path("/proc")
ROOT = Path(__file__).resolve().parent.parent
HAS_SCHEDSTAT = (PROC / "self/schedstat").exists()
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

_CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE = _CORES[0]
LOAD_CORE = _CORES[-1] if len(_CORES) < 3 else _CORES[1]
"""Clients and backends share the second core; the proxy has the first for itself."""

_alive: set["Child"] = set()


@dataclass(frozen=True, slots=True)
class Scheduled:
    """CPU time used, and time spent ready but waiting for the core (0 where the kernel does not tell)."""

    ran_ns: int
    waited_ns: int


class Child:
    """One program and its workers. Use it as a context manager: leaving the block stops it."""

    def __init__(self, argv: Sequence[str], *, core: int, log: Path, piped: bool = False) -> None:
        """Starts `argv` on `core`. Output goes to the file `log`, or standard output to `stdout` if piped."""
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                cwd=ROOT,
                start_new_session=True,
            )
        _alive.add(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise ValueError("this child's output goes to a file")
        return self._process.stdout

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Returns the exit status; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def said(self) -> str:
        """The last lines of its log, for error messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def pids(self) -> list[int]:
        """The process and its workers: every member of its process group."""
        members = []
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    # The name in parentheses may hold anything; after it: state, parent, group.
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[2]) == self.pid and fields[0] != "Z":
                        members.append(int(entry.name))
        return members

    def scheduled(self) -> "Scheduled":
        """What all threads of the process and its workers used of their core so far."""
        ran_ns = waited_ns = 0
        for pid in self.pids():
            scheduled = _scheduled(pid)
            ran_ns += scheduled.ran_ns
            waited_ns += scheduled.waited_ns
        return Scheduled(ran_ns, waited_ns)

    def memory_bytes(self) -> tuple[int, int]:
        """Resident and proportional set size (RSS, PSS), each summed over the process and its workers."""
        rss = pss = 0
        for pid in self.pids():
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                key, _, value = line.partition(":")
                if key == "Rss":
                    rss += int(value.split()[0]) * 1024
                elif key == "Pss":
                    pss += int(value.split()[0]) * 1024
        return rss, pss

    def stop(self) -> None:
        """Asks it to end, waits for up to 5 s, and then ends whatever is left of its group."""
        if self.running():
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        _alive.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop_all() -> None:
    """Stops every child that is still alive; the last thing a benchmark does, however it ends."""
    for child in list(_alive):
        child.stop()


def sleep_until(monotonic_s: float) -> None:
    time.sleep(max(0.0, monotonic_s - time.monotonic()))


def _scheduled(pid: int) -> Scheduled:
    if not HAS_SCHEDSTAT:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return Scheduled((int(fields[11]) + int(fields[12])) * TICK_NS, 0)
    ran_ns = waited_ns = 0
    for task in (PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            ran, waited, _ = (task / "schedstat").read_text().split()
            ran_ns += int(ran)
            waited_ns += int(waited)
    return Scheduled(ran_ns, waited_ns)
