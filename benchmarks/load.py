"""Load from h2load, and what it says of it: calls done and failed, bytes of data, latencies per call.

h2load does not read `grpc-status`: a call that a proxy refused in gRPC's way is a success to it. `Fleet`
compares its figures with the servers' own counts, so such a call is found.
"""

import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import LOAD_CORE, Child

# The client's windows, as the proxies have them: 64 KiB a stream, 1 MiB a connection (less one byte).
_COMMON = ["-w", "16", "-W", "20", "-H", "content-type: application/grpc", "-H", "te: trailers"]
RATE_CONNECTIONS = 20
"""Connections of a fixed rate. h2load wakes each one every 10 ms; they are opened two a millisecond, so
that together they send two calls every millisecond and not twenty at once."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`connections` with up to `streams` calls in flight on each."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        return self.connections * self.streams

    def __str__(self) -> str:
        return f"{self.connections}x{self.streams}"


@dataclass(frozen=True, slots=True)
class Result:
    """What h2load reported. `bad` are calls that failed, broke, ran out of time or were not answered 2xx."""

    succeeded: int
    bad: int
    data_bytes: int


@dataclass(frozen=True, slots=True)
class Latency:
    """One call: when it was sent (seconds since the epoch) and how long it took (seconds)."""

    started_s: float
    took_s: float


class Load:
    """A running h2load."""

    def __init__(self, child: Child, latencies: Path) -> None:
        self.child = child
        self._latencies = latencies

    def result(self, timeout_s: float) -> Result:
        """Waits for its end and reads its summary. Raises RuntimeError when there is none."""
        self.child.wait(timeout_s)
        text = self.child.log.read_text()
        requests = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        status = re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        data = re.search(r"\((\d+)\) data", text)
        if requests is None or status is None or data is None:
            raise RuntimeError(f"h2load gave no summary: {self.child.said()}")
        succeeded, failed, errored, timeout = map(int, requests.groups())
        _, *other = map(int, status.groups())
        return Result(succeeded, max(failed, errored, timeout, sum(other)), int(data[1]))

    def latencies(self) -> list[Latency]:
        """Every call that was answered, in the order of the answers; only for a load with `logged`."""
        found = []
        for line in self._latencies.read_text().splitlines():
            started_us, status, took_us = line.split("\t")[:3]
            if status == "200":
                found.append(Latency(int(started_us) / 1e6, int(took_us) / 1e6))
        return found


class Client:
    """Starts h2load against one port. `message_bytes` is the size of the message each request carries."""

    def __init__(self, port: int, directory: Path, message_bytes: int = 32) -> None:
        self._port = port
        self._directory = directory
        self._request = directory / f"request-{message_bytes}"
        self._request.write_bytes(struct.pack("!BI", 0, message_bytes) + bytes(message_bytes))

    @contextmanager
    def for_seconds(self, shape: Shape, seconds: float) -> Iterator[Load]:
        """A closed loop: each answer is followed by the next call, for so many seconds."""
        with self._load(shape, [f"-D{round(seconds * 1000)}ms"]) as load:
            yield load

    @contextmanager
    def calls(self, shape: Shape, calls: int, method: str = "Call") -> Iterator[Load]:
        """So many calls, as fast as they are answered."""
        with self._load(shape, [f"-n{calls}"], method) as load:
            yield load

    @contextmanager
    def at_rate(self, calls_per_s: int, seconds: float) -> Iterator[Load]:
        """A fixed rate, whatever the answers take; each call's latency is kept. See RATE_CONNECTIONS."""
        calls = round(calls_per_s * seconds / RATE_CONNECTIONS) * RATE_CONNECTIONS
        options = [f"-n{calls}", f"--rps={calls_per_s / RATE_CONNECTIONS}", "-r2", "--rate-period=1ms"]
        with self._load(Shape(RATE_CONNECTIONS, 100), [*options, "--log-file=@"]) as load:
            yield load

    @contextmanager
    def _load(self, shape: Shape, options: list[str], method: str = "Call") -> Iterator[Load]:
        own = Path(tempfile.mkdtemp(dir=self._directory))
        log, latencies = own / "summary", own / "latencies"
        argv = [
            "h2load",
            *_COMMON,
            f"-c{shape.connections}",
            f"-m{shape.streams}",
            f"-d{self._request}",
            *(option.replace("@", str(latencies)) for option in options),
            f"http://127.0.0.1:{self._port}/bench.Bench/{method}",
        ]
        with Child(argv, core=LOAD_CORE, log=log) as child:
            yield Load(child, latencies)


def percentile(sorted_values: list[float], share: float) -> float:
    """The nearest rank: the smallest value that at least `share` of the values do not exceed."""
    rank = max(1, -(-len(sorted_values) * round(share * 1000) // 1000))
    return sorted_values[rank - 1]
