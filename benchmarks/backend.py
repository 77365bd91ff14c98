"""The servers behind a proxy: starts, counts, restarts and stops them. Here are the gRPC ones, from `server/`."""

import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

from benchmarks import compiler
from benchmarks.load import Client, Shape
from benchmarks.process import LOAD_CORE, Child

BACKENDS = 3
ANSWER_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 30.0


class Service(Protocol):
    """What backends serve. Their programs print what `Backend` reads: "port=N", then a count for each SIGUSR1."""

    def argv(self) -> list[str]:
        """The command of one server, but for its port."""

    def probe(self, port: int, calls: int) -> None:
        """Makes so many calls through that port. OSError: not now. Whether they arrived is for the caller to see."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """`slow_delay_us` is what `Backend.slow_down` switches to; delays are for unary calls only."""

    reply_bytes: int = 32
    stream_bytes: int = 1 << 20
    delay_us: int = 0
    slow_delay_us: int = 0

    def argv(self) -> list[str]:
        return [
            str(compiler.compiled("server", (compiler.BENCHMARKS / "server").glob("*.c"), "libnghttp2")),
            f"--reply-bytes={self.reply_bytes}",
            f"--stream-bytes={self.stream_bytes}",
            f"--delay-us={self.delay_us}",
            f"--slow-delay-us={self.slow_delay_us}",
        ]

    def probe(self, port: int, calls: int) -> None:
        with TemporaryDirectory() as directory, Client(port, Path(directory)).calls(Shape(1, 1), calls) as load:
            load.result(PROBE_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Count:
    """Calls whose request was complete, since the start; streams that are open now.

    `first_s` and `last_s` tell when the present process got its first and its last call, on the clock of
    `time.monotonic`; 0 when it has got none, or does not tell.
    """

    calls: int
    open_streams: int
    first_s: float
    last_s: float


class Backend:
    """A server on a port of 127.0.0.1. It may end and come back there; its calls are counted through."""

    def __init__(self, service: Service, log: Path) -> None:
        self._argv = service.argv()
        self._log = log
        self._earlier_calls = 0
        self.port = 0
        self._start()

    def ask(self) -> None:
        """Asks for the count; `answer` reads it. Two steps, so that all servers count at the same time."""
        self._child.signal(signal.SIGUSR1)

    def answer(self) -> Count:
        found = {key: int(value) for key, value in (part.split("=") for part in self._line().split())}
        calls = self._earlier_calls + found["calls"]
        return Count(calls, found["open"], found.get("first_ns", 0) / 1e9, found.get("last_ns", 0) / 1e9)

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
def backends(service: Service, directory: Path) -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(service, directory / f"backend-{i}.log")) for i in range(BACKENDS)]
