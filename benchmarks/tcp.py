"""TCP: the servers behind a proxy and the load on it, both our own (`programs/tcp_server.c`, `tcp_client.c`).

An exchange is a request and its answer, of 64 bytes at least each. The client gives every request a number and
looks for it in the answer; so an answer that is lost, cut short or another's is a failure.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import compiler
from benchmarks.load import Result
from benchmarks.process import LOAD_CORE, Child

OPENING_BYTES = 64
PROBE_TIMEOUT_S = 15.0
PROBE_EXCHANGE = b"".join(n.to_bytes(8, "little") for n in (0, OPENING_BYTES, OPENING_BYTES, 0)).ljust(64, b"\0")


@dataclass(frozen=True, slots=True)
class TcpService:
    """Servers that answer as each request asks them to."""

    def argv(self) -> list[str]:
        return [str(compiler.program("tcp_server", "exchange", "serve"))]

    def probe(self, port: int, calls: int) -> None:
        """A few connections with one exchange each. Raises OSError when one is not answered."""
        for _ in range(calls):
            with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_S) as connection:
                connection.sendall(PROBE_EXCHANGE)
                with connection.makefile("rb") as answer:
                    if answer.read() != PROBE_EXCHANGE:
                        raise ConnectionError("another answer than was asked for")


@dataclass(frozen=True, slots=True)
class Exchanges:
    """What to do on each of `connections`, one exchange at a time.

    Either `count` in all, or as many as begin within `seconds`. `reconnect`: a new connection for each.
    """

    connections: int
    count: int | None = None
    seconds: float | None = None
    request_bytes: int = OPENING_BYTES
    answer_bytes: int = OPENING_BYTES
    reconnect: bool = False

    def argv(self, port: int) -> list[str]:
        argv = [str(compiler.program("tcp_client", "exchange")), f"--port={port}"]
        argv += [f"--connections={self.connections}"]
        argv += [f"--request-bytes={self.request_bytes}", f"--answer-bytes={self.answer_bytes}"]
        argv += [f"--exchanges={self.count}"] if self.count is not None else []
        argv += [f"--milliseconds={round(self.seconds * 1000)}"] if self.seconds is not None else []
        return argv + (["--reconnect"] if self.reconnect else [])


@dataclass(frozen=True, slots=True)
class Summary:
    """What the client reported; the percentiles are of whole exchanges, with their connection if it is new."""

    result: Result
    p50_ms: float
    p99_ms: float


class TcpLoad:
    """A running client."""

    def __init__(self, child: Child, exchanges: Exchanges) -> None:
        self._child = child
        self._exchanges = exchanges

    def summary(self, timeout_s: float) -> Summary:
        """Waits for its end. Raises RuntimeError when it gave no summary."""
        self._child.wait(timeout_s)
        said = self._child.said()
        if not said.startswith("done="):
            raise RuntimeError(f"the TCP client gave no summary: {said}")
        found = {key: int(value) for key, value in (part.split("=") for part in said.split())}
        answered = found["done"] * self._exchanges.answer_bytes
        result = Result(found["done"], found["failed"], answered)
        return Summary(result, found["p50_us"] / 1e3, found["p99_us"] / 1e3)


@contextmanager
def load(port: int, directory: Path, exchanges: Exchanges) -> Iterator[TcpLoad]:
    with Child(exchanges.argv(port), core=LOAD_CORE, log=directory / "tcp_client") as child:
        yield TcpLoad(child, exchanges)
