"""Processes that tests start: servers, and the proxy itself.

A `Process` owns one child: it starts it, keeps what it writes, signals it by its process id, and asserts
how it ended. It is a context manager: leaving it normally stops the child with SIGTERM and demands exit
status 0 (a child that ended unasked is a failure too); leaving it on a failure kills the child. The report
of a failed test shows the end of the stderr of every child that was there (`tests/conftest.py`).

`start_proxy` runs the proxy from a configuration given as a mapping, with free ports filled in, and returns
when it is ready. A `Place` says where a child runs, such as another network namespace (`tests/netns`). None of
them knows what a test sends through the proxy.
"""

import contextlib
import copy
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import accepts, free_address, split_address
from tests.support.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
STDERR_TAIL_CHARACTERS = 4000
PROXY_COMMAND: tuple[str, ...] = (sys.executable, "-m", "proxy")
SHUTDOWN_GRACE_S = 0.2  # unless the test says: a proxy told to stop takes late arrivals for 5 s otherwise

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child runs: a command put before its own, and how this thread makes sockets there."""

    prefix: tuple[str, ...] = ()
    entered: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


HERE = Place()


class Process:
    """A running child process.

    `command` is run from the project's root with this process's environment plus `env`. Its stdout and
    stderr go to unnamed files, so that a child that writes much never waits for its reader.
    """

    open: ClassVar[set["Process"]] = set()  # those not closed yet

    def __init__(
        self, command: Sequence[str], name: str, env: Mapping[str, str] | None = None, place: Place = HERE
    ) -> None:
        self.name = name
        self.place = place
        self._end_was_asked_for = False
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = subprocess.Popen(
            (*place.prefix, *command),
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
        )
        Process.open.add(self)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What it exited with, minus the signal's number if one ended it; None while it runs."""
        return self._child.poll()

    def stdout(self) -> str:
        """All it has written to stdout so far."""
        return _read_all(self._stdout.fileno())

    def stderr(self) -> str:
        """All it has written to stderr so far."""
        return _read_all(self._stderr.fileno())

    def stderr_tail(self) -> str:
        """The end of what it has written to stderr, for people."""
        return self.stderr()[-STDERR_TAIL_CHARACTERS:].strip() or "(nothing)"

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM; its end, whenever it comes, is what was asked for. `wait` tells how it ended."""
        self._end_was_asked_for = True
        self.signal(signal.SIGTERM)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Waits for its end and returns its exit status; AssertionError when it takes over `timeout_s`."""
        self._end_was_asked_for = True
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still runs after {timeout_s:g} s") from None

    def stop(self, timeout_s: float = PATIENCE_S, expect: int = 0) -> None:
        """SIGTERM, then its end within `timeout_s` with exit status `expect`; AssertionError otherwise."""
        try:
            if not self.running:
                raise self.failure("had already ended")
            self.signal(signal.SIGTERM)
            status = self.wait(timeout_s)
            if status != expect:
                raise self.failure(f"did not exit with {expect}")
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL if it still runs, and forgets it. What it wrote can still be read."""
        self._end_was_asked_for = True
        if self.running:
            self._child.kill()
        self._child.wait()

    def wait_until(self, condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
        """Like `wait_until`, but fails at once when the process has ended, and shows its stderr."""

        def checked() -> T:
            if not self.running:
                raise self.failure(f"ended before {what}")
            return condition()

        try:
            return wait_until(checked, what, timeout_s)
        except AssertionError as error:
            if not self.running:
                raise
            raise self.failure(str(error)) from None

    def wait_for_port(self, address: str, timeout_s: float = PATIENCE_S) -> None:
        """Returns when a TCP connection to "host:port" is accepted."""
        with self.place.entered():
            self.wait_until(lambda: accepts(address), f"listening on {address}", timeout_s)

    def failure(self, problem: str) -> AssertionError:
        """An error that says what is wrong with the process, with the end of its stderr."""
        status = "running" if self.running else f"exit status {self.exit_status}"
        return AssertionError(f"{self.name} {problem} ({status}); its stderr:\n{self.stderr_tail()}")

    def close(self) -> None:
        """Kills it if it still runs and gives its files back."""
        Process.open.discard(self)
        self.kill()
        self._stdout.close()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self._end_was_asked_for:
                self.stop()
        finally:
            self.close()


def start_python(module: str, *arguments: str, name: str, env: Mapping[str, str] | None = None) -> Process:
    """Runs `python -m module` with this interpreter."""
    return Process((sys.executable, "-m", module, *arguments), name, env)


class ProxyProcess(Process):
    """A running proxy: where it listens, what its admin port tells, and its configuration file."""

    def __init__(
        self, config: Mapping[str, Any], directory: Path, env: Mapping[str, str] | None = None, place: Place = HERE
    ) -> None:
        self.config_path = directory / "proxy.yaml"
        self._listeners: dict[str, str] = {}
        self.admin = config.get("admin", {}).get("address") or free_address()
        self.configure(config)
        super().__init__((*PROXY_COMMAND, "--config", str(self.config_path)), "the proxy", env, place)

    def listener(self, name: str) -> str:
        """The "host:port" of the listener called `name`."""
        return self._listeners[name]

    def configure(self, config: Mapping[str, Any]) -> None:
        """Replaces the configuration file in one step.

        A listener without an address gets a free one, and keeps it when the file is replaced again.
        """
        filled = {"shutdown_grace_s": SHUTDOWN_GRACE_S, **copy.deepcopy(dict(config))}
        filled["admin"] = {**filled.get("admin", {}), "address": self.admin}
        for listener in filled["listeners"]:
            known = self._listeners.get(listener["name"])
            listener["address"] = listener.get("address") or known or free_address()
            self._listeners[listener["name"]] = listener["address"]
        self.write_config(yaml.safe_dump(filled, sort_keys=False))

    def write_config(self, text: str) -> None:
        """Replaces the configuration file in one step by `text`, right or wrong."""
        written = self.config_path.with_suffix(".new")
        written.write_text(text)
        written.replace(self.config_path)

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """(HTTP status, body) of a request to the admin port."""
        host, port = split_address(self.admin)
        connecting = contextlib.closing(http.client.HTTPConnection(host, port, timeout=PATIENCE_S))
        with self.place.entered(), connecting as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def ready(self) -> bool:
        """Whether `/ready` answers 200 now."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/ready")[0] == 200
        return False

    def endpoints(self) -> Any:
        """What `/endpoints` shows."""
        status, body = self.get("/endpoints")
        assert status == 200, f"/endpoints answered {status}: {body}"
        return json.loads(body)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples called `name` that have all of `labels`; 0 when there is none."""
        status, body = self.get("/metrics")
        assert status == 200, f"/metrics answered {status}: {body}"
        return sum(
            sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def start_proxy(
    config: Mapping[str, Any],
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = PATIENCE_S,
    place: Place = HERE,
) -> ProxyProcess:
    """Starts the proxy on `config` (the YAML as a mapping) and waits until it is ready.

    The configuration file goes into `directory`. The address of the admin port and of each listener may be
    left out; a free one is then chosen beforehand.
    AssertionError with the proxy's stderr when it is not ready within `timeout_s`.
    """
    proxy = ProxyProcess(config, directory, env, place)
    try:
        proxy.wait_until(proxy.ready, "ready", timeout_s)
    except BaseException:
        proxy.close()
        raise
    return proxy


def _read_all(descriptor: int) -> str:
    # pread leaves alone the file offset, which the child shares and writes at.
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
