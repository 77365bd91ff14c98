"""Ten thousand connections that are open and quiet: what they cost in memory, for each protocol.

Fewer where the machine does not allow as many descriptors; the bound is then in proportion. All from one process, on
several loopback addresses, so that no range of ports runs out.
"""

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.attack import frames
from tests.attack.scene import configuration
from tests.memory.answering import AnsweringServer
from tests.support.memory import SANITIZER_BYTES, rss_bytes
from tests.support.paced_server import PIECE, PacedServer
from tests.support.ports import split_address
from tests.support.process import ProxyProcess, start_proxy

WANTED = 10_000
BOUND_BYTES = 250 * 10**6
SPARE = 200  # descriptors for all else
AT_A_TIME = 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def connections() -> Iterator[int]:
    """How many to open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(WANTED, (hard - SPARE) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Accepting:
    """A TCP server that takes every connection and says nothing."""

    def __init__(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)

    def _accept(self) -> None:
        while True:
            sock, _ = self._sock.accept()
            self.accepted.append(sock)
            if sock.getpeername()[0] == "127.0.0.99":
                return

    def __enter__(self) -> "Accepting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.create_connection(split_address(self.address), source_address=("127.0.0.99", 0)):
            self._thread.join()
        for sock in (*self.accepted, self._sock):
            sock.close()


@contextmanager
def opened(
    proxy: ProxyProcess, count: int, greet: bytes, heard: Callable[[bytes], bool]
) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has sent `greet` and was answered."""
    address = split_address(proxy.listener("outbound"))
    with ExitStack() as open_now:
        sockets: list[socket.socket] = []
        for first in range(0, count, AT_A_TIME):
            batch = []
            for number in range(first, min(first + AT_A_TIME, count)):
                sock = open_now.enter_context(socket.socket())
                sock.bind((f"127.0.0.{2 + number % 16}", 0))
                sock.settimeout(60)
                sock.connect(address)
                sock.sendall(greet)
                batch.append(sock)
            for sock in batch:
                received = b""
                while not heard(received):
                    data = sock.recv(65_536)
                    assert data and not data.startswith(b"HTTP/1.1 503"), f"closed or refused: {data!r}"
                    received += data
            sockets += batch
        yield sockets


def check(proxy: ProxyProcess, count: int, before: int, what: str) -> None:
    rss = rss_bytes(proxy.pid)
    print(f"\n{count} {what}: RSS {rss / 1e6:.1f} MB, {(rss - before) / count:.0f} bytes each")
    assert rss < BOUND_BYTES * count / WANTED + SANITIZER_BYTES


def detecting(address: str) -> dict[str, Any]:
    config = configuration(address)
    config["listeners"][0]["protocol"] = "detect"
    config["clusters"][0]["protocol"] = "detect"
    return config


def test_http2(connections: int, tmp_path: Path) -> None:
    """Each has made a call."""
    greet = frames.client_preface() + frames.settings_ack() + frames.call(1)
    with AnsweringServer() as server, start_proxy(configuration(server.address), tmp_path) as proxy:
        before = rss_bytes(proxy.pid)
        with opened(proxy, connections, greet, lambda received: b"grpc-status" in received or ended(received)):
            check(proxy, connections, before, "idle HTTP/2 connections")


def ended(received: bytes) -> bool:
    """Whether stream 1 has ended."""
    while len(received) >= 9:
        length, flags, stream = int.from_bytes(received[:3]), received[4], int.from_bytes(received[5:9])
        if stream == 1 and received[3] in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
            return True
        received = received[9 + length :]
    return False


@pytest.mark.parametrize("protocol", ["http1", "detect"])
def test_http1_kept_alive(connections: int, protocol: str, tmp_path: Path) -> None:
    greet = b"GET /1/0 HTTP/1.1\r\nHost: x\r\n\r\n"
    with PacedServer() as server:
        config = detecting(server.address)
        config["listeners"][0]["protocol"] = protocol
        with start_proxy(config, tmp_path) as proxy:
            before = rss_bytes(proxy.pid)
            with opened(proxy, connections, greet, lambda received: received.endswith(PIECE)) as sockets:
                check(proxy, connections, before, f"kept-alive HTTP/1.1 connections ({protocol})")
                sockets[0].sendall(greet)
                assert sockets[0].recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("greet", [b"", b"\x00binary"], ids=["silent", "tcp"])
def test_tcp(connections: int, greet: bytes, tmp_path: Path) -> None:
    """Relayed, or silent: then an endpoint was dialled to see whether it is the one that speaks first."""
    with Accepting() as server, start_proxy(detecting(server.address), tmp_path) as proxy:
        before = rss_bytes(proxy.pid)
        with opened(proxy, connections, greet, lambda _: True):
            proxy.wait_until(lambda: len(server.accepted) >= connections, "all are passed on", 60)
            check(proxy, connections, before, "TCP connections" if greet else "silent connections")
