"""Child processes: started with a log file each, awaited until they are ready, and always stopped.

Leaving the `async with` block stops every program by its process id, whatever the reason for leaving.
Knows nothing of what the programs do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_READY_TIMEOUT_S = 20.0
_READY_POLL_S = 0.05
_LOG_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class ProgramError(Exception):
    """A program did not start, or ended by itself; the text says which, and the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Program:
    """A running child process and the file it writes to."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def failure(self, what: str) -> ProgramError:
        """Return the error that says `what` happened to this program."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return ProgramError("\n  ".join([f"{self.name} {what}; {self.log} ends with:", *lines]))


class Programs:
    """The programs that run at present."""

    def __init__(self, log_dir: Path, stop_timeout_s: float) -> None:
        self._log_dir = log_dir
        self._stop_timeout_s = stop_timeout_s
        self._running: list[Program] = []

    async def __aenter__(self) -> Programs:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Those started last stand on those started first.
            while self._running:
                await self.stop(self._running[-1])
        finally:
            for program in self._running:
                _kill(program.process)

    async def start(self, name: str, argv: list[str], ready: Callable[[], Awaitable[bool]]) -> Program:
        """Run `python *argv` and wait until `ready` says so.

        Raises ProgramError when the program ends before that, or is not ready within 20 seconds.
        """
        log = self._log_dir / f"{name}.log"
        process = await _spawn(argv, log)
        program = Program(name, process, log)
        self._running.append(program)
        for _ in range(int(_READY_TIMEOUT_S / _READY_POLL_S)):
            if process.returncode is not None:
                raise program.failure(f"ended with status {process.returncode}")
            if await ready():
                return program
            await asyncio.sleep(_READY_POLL_S)
        raise program.failure(f"was not ready within {_READY_TIMEOUT_S:.0f} s")

    async def stop(self, program: Program) -> int:
        """Send SIGTERM, after the stop timeout SIGKILL; return the exit status."""
        process = program.process
        try:
            if process.returncode is None:
                process.terminate()
            # Not asyncio.wait_for, which loses a cancellation that meets the process' end (Python 3.11).
            async with asyncio.timeout(self._stop_timeout_s):
                return await process.wait()
        except TimeoutError:
            _kill(process)
            return await process.wait()
        except asyncio.CancelledError:
            _kill(process)
            raise
        finally:
            if program in self._running:
                self._running.remove(program)

    def check(self) -> None:
        """Raise ProgramError when a program has ended that nobody stopped."""
        for program in self._running:
            if program.process.returncode is not None:
                raise program.failure(f"ended with status {program.process.returncode}")


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


async def _spawn(argv: list[str], log: Path) -> asyncio.subprocess.Process:
    # A log that exists is continued: a pod that comes back tells the rest of its story in the same file.
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C in the terminal is for this process, which stops the others in their order.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    finally:
        os.close(output)


def _end_with_parent() -> None:
    # Even a SIGKILL of this process must not leave programs behind.
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
