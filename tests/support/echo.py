"""The echo service from the outside: its server processes, a client, and a steady load of calls.

What the methods do and which metadata steers them is described in `tests.support.echo_server`.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from tests.support.echo_server import SERVICE
from tests.support.ports import free_address
from tests.support.process import Process
from tests.support.waiting import PATIENCE_S, wait_until

# Connections of its own for each channel, and never through an HTTP proxy that the environment names.
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
CALL_TIMEOUT_S = 30


class EchoServer(Process):
    """A running echo server. `address` may be given, to start one again where another was."""

    def __init__(self, name: str, address: str | None = None, arguments: Mapping[str, int] | None = None) -> None:
        self.address = address or free_address()
        options = [f"{key}={value}" for key, value in (arguments or {}).items()]
        command = (sys.executable, "-m", "tests.support.echo_server", self.address, name, *options)
        super().__init__(command, f"server {name}")

    def wait_until_serving(self) -> None:
        self.wait_for_port(self.address)

    def event(self, call_id: str, event: str) -> dict[str, Any] | None:
        """What it wrote about an event of the call sent with `call-id`; None when it has not (yet)."""
        for line in self.stdout().splitlines(keepends=True):
            told: dict[str, Any] = json.loads(line) if line.endswith("\n") else {}
            if (told.get("call"), told.get("event")) == (call_id, event):
                return told
        return None


@contextmanager
def echo_servers(
    *names: str, address: str | None = None, arguments: Mapping[str, int] | None = None
) -> Iterator[list[EchoServer]]:
    """Running servers with these names; each must end with exit status 0 unless the test ended it.

    `address` is for one server alone, to be where another was; `arguments` are gRPC channel arguments.
    """
    with ExitStack() as running:
        servers = [running.enter_context(EchoServer(name, address, arguments)) for name in names]
        for server in servers:
            server.wait_until_serving()
        yield servers


def event_at(servers: Sequence[EchoServer], call_id: str, event: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Waits until one of `servers` tells of the event of the call."""

    def told() -> dict[str, Any]:
        return next((found for server in servers if (found := server.event(call_id, event))), {})

    return wait_until(told, f"{event} of call {call_id}", timeout_s)


class EchoClient:
    """A channel to `address` with the service's methods; a call takes bytes and grpcio's own arguments."""

    def __init__(self, address: str, *options: tuple[str, Any]) -> None:
        self._channel = grpc.insecure_channel(address, options=(*CHANNEL_OPTIONS, *options))
        self.unary: Any = self._channel.unary_unary(f"/{SERVICE}/Unary")
        self.collect: Any = self._channel.stream_unary(f"/{SERVICE}/Collect")
        self.expand: Any = self._channel.unary_stream(f"/{SERVICE}/Expand")
        self.chat: Any = self._channel.stream_stream(f"/{SERVICE}/Chat")

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def server_of(call: Any) -> str:
    """The name of the server that answered a call; waits for its end."""
    return str(dict(call.trailing_metadata()).get("server", ""))


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed; `flag` is the proxy's `x-mesh-error`, "" for a status that is not its own."""

    status: str
    details: str
    flag: str


class Load:
    """Unary calls through `address`, from several threads and as many connections, one after another in each.

    While it runs and afterwards: `answered_by` counts the good answers by server, `failures` has the others.
    """

    def __init__(self, address: str, threads: int = 6, pause_s: float = 0.003, authority: str = "") -> None:
        """`authority` is what is asked for, if it is another than `address`."""
        self.answered_by: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._pause_s = pause_s
        self._options = [("grpc.default_authority", authority)] if authority else []
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(address,)) for _ in range(threads)]

    @property
    def answered(self) -> int:
        with self._lock:
            return self.answered_by.total()

    def wait_for_answers(self, count: int, server: str | None = None, timeout_s: float = 60) -> None:
        """Waits for `count` more good answers, of `server` if it is named."""

        def answers() -> int:
            with self._lock:
                return self.answered_by.total() if server is None else self.answered_by[server]

        target = answers() + count
        wait_until(lambda: answers() >= target, f"{count} more answers from {server or 'any server'}", timeout_s)

    def stop(self) -> None:
        """Returns when the last call has ended."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self, address: str) -> None:
        with EchoClient(address, *self._options) as client:
            number = 0
            while not self._ending.is_set():
                number += 1
                self._call(client, number.to_bytes(4))
                time.sleep(self._pause_s)

    def _call(self, client: EchoClient, request: bytes) -> None:
        call = client.unary.future(request, timeout=CALL_TIMEOUT_S)
        status = call.code()  # waits for the end
        trailing = dict(call.trailing_metadata())
        with self._lock:
            if status is grpc.StatusCode.OK:
                assert call.result() == request
                self.answered_by[str(trailing["server"])] += 1
            else:
                failure = Failure(status.name, call.details(), str(trailing.get("x-mesh-error", "")))
                self.failures.append(failure)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
