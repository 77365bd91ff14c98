"""HTTP/1.1: the servers behind a proxy (`programs/http1_server.c`), and load from wrk with what it says of it.

wrk keeps its connections open and has one request in flight on each. It keeps an error apart from an answer,
and takes any status below 400 for a success; `Fleet` compares its figure with the servers' own counts.
"""

import http.client
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compiler
from benchmarks.load import Result
from benchmarks.process import LOAD_CORE, Child

SCRIPT = compiler.PROGRAMS / "wrk.lua"
PROBE_TIMEOUT_S = 15.0
REQUEST_TIMEOUT_S = 60
"""A request that is slow for the machine's sake is no failure of the proxy; wrk's own limit is 2 s."""


@dataclass(frozen=True, slots=True)
class Http1Service:
    """Servers that answer every request with so many bytes."""

    reply_bytes: int = 32

    def argv(self) -> list[str]:
        return [str(compiler.program("http1_server", "serve")), f"--reply-bytes={self.reply_bytes}"]

    def probe(self, port: int, calls: int) -> None:
        """A few requests over one connection. Raises OSError when one is not answered with 200."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT_S)) as connection:
            for _ in range(calls):
                try:
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    response.read()
                except http.client.HTTPException as error:
                    raise ConnectionError(f"no answer in HTTP/1: {error!r}") from error
                if response.status != 200:
                    raise ConnectionError(f"answered with {response.status}")


@dataclass(frozen=True, slots=True)
class Summary:
    """What wrk reported. `result.bad` are requests that broke, ran out of time or were refused."""

    result: Result
    p50_ms: float
    p99_ms: float


class Wrk:
    """A running wrk."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def summary(self, timeout_s: float) -> Summary:
        """Waits for its end. Raises RuntimeError when it gave no summary."""
        self._child.wait(timeout_s)
        last = self._child.said().rpartition("\n")[2]
        if not last.startswith("requests="):
            raise RuntimeError(f"wrk gave no summary: {self._child.said()}")
        found = {key: float(value) for key, value in (part.split("=") for part in last.split())}
        result = Result(int(found["requests"]), int(found["bad"]), int(found["bytes"]))
        return Summary(result, found["p50_us"] / 1e3, found["p99_us"] / 1e3)


@contextmanager
def wrk(port: int, directory: Path, connections: int, request_bytes: int, seconds: float) -> Iterator[Wrk]:
    """Requests in a closed loop for so many seconds, rounded up: GET, or POST when they have a body."""
    argv = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={math.ceil(seconds)}s"]
    argv += [
        f"--timeout={REQUEST_TIMEOUT_S}s",
        f"--script={SCRIPT}",
        f"http://127.0.0.1:{port}/",
        "--",
        str(request_bytes),
    ]
    with Child(argv, core=LOAD_CORE, log=directory / "wrk") as child:
        yield Wrk(child)
