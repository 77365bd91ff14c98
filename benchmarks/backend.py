"""The three gRPC servers behind a proxy: compiles `backend.c` at first use, starts, counts and stops them."""

import select
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import LOAD_CORE, Child

BENCHMARKS = Path(__file__).resolve().parent
BIN = BENCHMARKS / "bin"
BACKENDS = 3
ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """`slow_delay_us` is what `Backend.slow_down` switches to; delays are for unary calls only."""

    reply_bytes: int = 32
    stream_bytes: int = 1 << 20
    delay_us: int = 0
    slow_delay_us: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """Calls whose request was complete, since the start; streams that are open now."""

    calls: int
    open_streams: int


class Backend:
    """One running server on a port of 127.0.0.1."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.port = int(self._line().removeprefix("port="))

    def ask(self) -> None:
        """Asks for the count; `answer` reads it. Two steps, so that all servers count at the same time."""
        self.child.signal(signal.SIGUSR1)

    def answer(self) -> Count:
        calls, open_streams = (int(part.partition("=")[2]) for part in self._line().split())
        return Count(calls, open_streams)

    def slow_down(self) -> None:
        self.child.signal(signal.SIGUSR2)

    def _line(self) -> str:
        ready, _, _ = select.select([self.child.stdout], [], [], ANSWER_TIMEOUT_S)
        line = self.child.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise RuntimeError(f"a backend did not answer: {self.child.said()}")
        return line


def counts(backends: list[Backend]) -> list[Count]:
    for backend in backends:
        backend.ask()
    return [backend.answer() for backend in backends]


@contextmanager
def backends(options: BackendOptions, directory: Path) -> Iterator[list[Backend]]:
    argv = [
        str(compiled()),
        f"--reply-bytes={options.reply_bytes}",
        f"--stream-bytes={options.stream_bytes}",
        f"--delay-us={options.delay_us}",
        f"--slow-delay-us={options.slow_delay_us}",
    ]
    with ExitStack() as stack:
        children = [
            stack.enter_context(Child(argv, core=LOAD_CORE, log=directory / f"backend-{i}.log", piped=True))
            for i in range(BACKENDS)
        ]
        yield [Backend(child) for child in children]


def compiled() -> Path:
    """The path of the server's binary, built anew when the source is younger. Needs cc and libnghttp2-dev."""
    source, binary = BENCHMARKS / "backend.c", BIN / "backend"
    if binary.exists() and binary.stat().st_mtime >= source.stat().st_mtime:
        return binary
    BIN.mkdir(exist_ok=True)
    # Written beside and moved, so that a second benchmark never runs half a file.
    unfinished = binary.with_suffix(".new")
    compiler = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra"]
    subprocess.run(
        [*compiler, *_pkg_config("--cflags"), str(source), "-o", str(unfinished), *_pkg_config("--libs")],
        check=True,
    )
    return unfinished.replace(binary)


def _pkg_config(what: str) -> list[str]:
    command = ["pkg-config", what, "libnghttp2"]
    return shlex.split(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
