"""The gRPC servers behind a proxy: compiles `server/` at first use, starts, counts, restarts and stops them."""

import select
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.process import LOAD_CORE, Child

BENCHMARKS = Path(__file__).resolve().parent
BIN = BENCHMARKS / "bin"
BACKENDS = 3
ANSWER_TIMEOUT_S = 5.0
DRAIN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """`slow_delay_us` is what `Backend.slow_down` switches to; delays are for unary calls only."""

    reply_bytes: int = 32
    stream_bytes: int = 1 << 20
    delay_us: int = 0
    slow_delay_us: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """Calls whose request was complete, since the start; streams that are open now.

    `first_s` and `last_s` tell when the present process got its first and its last call, on the clock of
    `time.monotonic`; 0 when it has got none.
    """

    calls: int
    open_streams: int
    first_s: float
    last_s: float


class Backend:
    """A server on a port of 127.0.0.1. It may end and come back there; its calls are counted through."""

    def __init__(self, options: BackendOptions, log: Path) -> None:
        self._argv = [
            str(compiled()),
            f"--reply-bytes={options.reply_bytes}",
            f"--stream-bytes={options.stream_bytes}",
            f"--delay-us={options.delay_us}",
            f"--slow-delay-us={options.slow_delay_us}",
        ]
        self._log = log
        self._earlier_calls = 0
        self.port = 0
        self._start()

    def ask(self) -> None:
        """Asks for the count; `answer` reads it. Two steps, so that all servers count at the same time."""
        self._child.signal(signal.SIGUSR1)

    def answer(self) -> Count:
        found = dict(part.split("=") for part in self._line().split())
        calls = self._earlier_calls + int(found["calls"])
        return Count(calls, int(found["open"]), int(found["first_ns"]) / 1e9, int(found["last_ns"]) / 1e9)

    def slow_down(self) -> None:
        self._child.signal(signal.SIGUSR2)

    def drain(self) -> None:
        """Ends as a pod should: GOAWAY, what runs is finished. TimeoutExpired when a peer holds it up."""
        self._child.signal(signal.SIGTERM)
        self._child.wait(DRAIN_TIMEOUT_S)
        self._earlier_calls = self.answer().calls

    def kill(self) -> int:
        """Ends at once. Returns how many calls it had open; exact if none came in between."""
        self.ask()
        count = self.answer()
        self._child.signal(signal.SIGKILL)
        self._child.wait(ANSWER_TIMEOUT_S)
        self._earlier_calls = count.calls
        return count.open_streams

    def come_back(self) -> None:
        """Starts again on the same port, after `drain` or `kill`."""
        self._child.stop()
        self._start()

    def stop(self) -> None:
        self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        self._child = Child([*self._argv, f"--port={self.port}"], core=LOAD_CORE, log=self._log, piped=True)
        self.port = int(self._line().removeprefix("port="))

    def _line(self) -> str:
        ready, _, _ = select.select([self._child.stdout], [], [], ANSWER_TIMEOUT_S)
        line = self._child.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise RuntimeError(f"a backend did not answer: {self._child.said()}")
        return line


def counts(backends: list[Backend]) -> list[Count]:
    for backend in backends:
        backend.ask()
    return [backend.answer() for backend in backends]


@contextmanager
def backends(options: BackendOptions, directory: Path) -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(options, directory / f"backend-{i}.log")) for i in range(BACKENDS)]


def compiled() -> Path:
    """The path of the server's binary, built anew when a source is younger. Needs cc and libnghttp2-dev."""
    sources, binary = sorted((BENCHMARKS / "server").glob("*.[ch]")), BIN / "server"
    youngest = max(source.stat().st_mtime for source in sources)
    if binary.exists() and binary.stat().st_mtime >= youngest:
        return binary
    BIN.mkdir(exist_ok=True)
    # Written beside and moved, so that a second benchmark never runs half a file.
    unfinished = binary.with_suffix(".new")
    compiler = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra"]
    units = [str(source) for source in sources if source.suffix == ".c"]
    subprocess.run(
        [*compiler, *_pkg_config("--cflags"), *units, "-o", str(unfinished), *_pkg_config("--libs")],
        check=True,
    )
    return unfinished.replace(binary)


def _pkg_config(what: str) -> list[str]:
    command = ["pkg-config", what, "libnghttp2"]
    return shlex.split(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
