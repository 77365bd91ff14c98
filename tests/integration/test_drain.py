"""SIGTERM while much runs, over each protocol: nothing is cut, late arrivals are served, and the end comes in time."""

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.attack import frames
from tests.attack.peer import FrameReader
from tests.integration.conftest import echo_config
from tests.support.echo import EchoClient, echo_servers, event_at
from tests.support.echo_server import SERVICE
from tests.support.paced_server import PIECE, PacedServer
from tests.support.ports import accepts, split_address
from tests.support.process import ProxyProcess, start_proxy
from tests.support.waiting import unless_later_than

TIMEOUT_S = 30
LATE_ARRIVALS_S = 5  # proxy/drain.py
GRACE_S = 120  # longer than any test: what ends, ends by itself
RUNNING = 50


def http1_config(address: str, **settings: Any) -> dict[str, Any]:
    config = echo_config(address, **settings)
    config["listeners"][0]["protocol"] = "http1"
    config["clusters"][0]["protocol"] = "detect"
    return config


@pytest.fixture
def paced() -> Iterator[PacedServer]:
    with PacedServer() as server:
        yield server


def connect(proxy: ProxyProcess) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(*split_address(proxy.listener("outbound")), timeout=TIMEOUT_S))


def get(connection: http.client.HTTPConnection, path: str) -> tuple[int, int, str | None]:
    """(status, bytes, `connection` field) of a response that came whole."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, len(response.read()), response.getheader("connection")


def terminate(proxy: ProxyProcess) -> float:
    """Tells it to stop, and returns when it was told (time.monotonic)."""
    told_s = time.monotonic()
    proxy.terminate()
    with unless_later_than(told_s + LATE_ARRIVALS_S, AssertionError, OSError):
        proxy.wait_until(lambda: proxy.get("/ready") == (503, "shutting down\n"), "not ready any more")
    return told_s


def test_no_response_over_http1_is_cut(paced: PacedServer, tmp_path: Path) -> None:
    def slow(_number: int) -> tuple[int, int]:
        with connect(proxy) as connection:
            return get(connection, "/20/0.1")[:2]

    config = http1_config(paced.address, shutdown_grace_s=GRACE_S)
    with start_proxy(config, tmp_path) as proxy, ThreadPoolExecutor(RUNNING) as threads:
        running = [threads.submit(slow, number) for number in range(RUNNING)]
        paced.wait_for_requests(RUNNING)
        terminate(proxy)
        assert [each.result() for each in running] == [(200, 20 * len(PIECE))] * RUNNING
        assert proxy.wait() == 0


def test_while_it_drains_it_says_how_the_application_is(paced: PacedServer, tmp_path: Path) -> None:
    port = paced.address.rpartition(":")[2]
    config = http1_config(paced.address, shutdown_grace_s=GRACE_S)
    with contextlib.ExitStack() as running:
        proxy = running.enter_context(start_proxy(config, tmp_path, env={"MESHCTL_ADMIN_PROBE_PORTS": port}))
        connection = running.enter_context(connect(proxy))
        response = running.enter_context(ThreadPoolExecutor(1)).submit(get, connection, "/600/1")
        paced.wait_for_requests(1)
        terminate(proxy)
        assert proxy.get(f"/probe/tcp/{port}") == (200, f"port {port} accepts connections\n")
        paced.hurry.set()
        assert response.result()[:2] == (200, 600 * len(PIECE))


def test_no_stream_over_http2_is_cut(tmp_path: Path) -> None:
    with echo_servers("a") as servers:
        config = echo_config(servers[0].address, shutdown_grace_s=GRACE_S)
        with start_proxy(config, tmp_path) as proxy, contextlib.ExitStack() as clients:
            calls = []
            for number in range(RUNNING):
                client = clients.enter_context(EchoClient(proxy.listener("outbound")))
                metadata = [("sleep-s", f"{0.5 + number / RUNNING}"), ("call-id", str(number))]
                calls.append(client.expand(b"20 20000", metadata=metadata, timeout=TIMEOUT_S))
            for number in range(RUNNING):
                event_at(servers, str(number), "start")
            terminate(proxy)
            assert [[len(each) for each in call] for call in calls] == [[20_000] * 20] * RUNNING
            assert proxy.wait() == 0


class Http2Client:
    """A client that follows the frames itself: answers PING, returns credit, counts what it is sent."""

    def __init__(self, address: str, *, receive_bytes: int = 2**18) -> None:
        self.data_bytes = self.goaways = 0
        self.ended: set[int] = set()
        self._frames = FrameReader()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(split_address(address))
        window = frames.client_preface((frames.INITIAL_WINDOW_SIZE, 2**24)) + frames.window_update(0, 2**24)
        self.socket.sendall(window)

    def read(self, most: int = 20_000) -> bool:
        """Take what comes, up to `most` bytes; False at the end of the connection."""
        received = self.socket.recv(most)
        answer = b""
        for kind, flags, stream, payload in self._frames.feed(received):
            if kind == frames.DATA:
                self.data_bytes += len(payload)
                answer += frames.window_update(0, max(len(payload), 1))
            if kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
                self.ended.add(stream)
            if kind == frames.PING and not flags & frames.ACK:
                answer += frames.ping(payload, frames.ACK)
            self.goaways += kind == frames.GOAWAY
        self.socket.sendall(answer)
        return bool(received)


def test_a_client_that_reads_slowly_over_http2_gets_all_after_the_last_stream_has_ended(tmp_path: Path) -> None:
    """It returns credit long after the proxy has sent everything: a closed socket would answer that with a reset."""
    size = 1_500_000
    body = frames.message(f"1 {size}".encode())
    with echo_servers("a") as servers:
        config = echo_config(servers[0].address, shutdown_grace_s=GRACE_S)
        with start_proxy(config, tmp_path) as proxy:
            client = Http2Client(proxy.listener("outbound"), receive_bytes=16_384)
            with client.socket:
                client.socket.sendall(frames.headers(1, frames.request(f"/{SERVICE}/Expand")))
                proxy.wait_until(lambda: proxy.metric("meshctl_calls_in_flight") == 1, "the call has begun")
                terminate(proxy)
                while client.goaways < 2:
                    client.read()
                client.socket.sendall(frames.data(1, body, frames.END_STREAM))
                proxy.wait_until(lambda: proxy.metric("meshctl_response_total") == 1, "the last stream ends")
                begun_s = time.monotonic()
                while client.read():
                    time.sleep(0.05)
                assert (client.data_bytes, client.ended, client.goaways) == (size + 5, {1}, 2)
                assert time.monotonic() - begun_s > 2, "the client was not slow"
            assert proxy.wait() == 0


def test_http1_hears_that_a_response_is_the_last_and_comes_again_until_late_arrivals_are_over(
    paced: PacedServer, tmp_path: Path
) -> None:
    config = http1_config(paced.address, shutdown_grace_s=GRACE_S)
    with start_proxy(config, tmp_path) as proxy, connect(proxy) as kept, connect(proxy) as busy:
        assert get(kept, "/1/0") == (200, len(PIECE), None)
        busy.request("GET", "/600/1")
        paced.wait_for_requests(2)
        told_s = terminate(proxy)
        old = kept.sock
        assert get(kept, "/1/0") == (200, len(PIECE), "close")
        assert kept.sock is None and old is not None, "http.client closes what says it is closed"
        while time.monotonic() - told_s < LATE_ARRIVALS_S - 2:
            with unless_later_than(told_s + LATE_ARRIVALS_S, OSError):
                assert get(kept, "/1/0") == (200, len(PIECE), "close")
            time.sleep(0.2)
        paced.hurry.set()
        assert len(busy.getresponse().read()) == 600 * len(PIECE)
        assert proxy.wait() == 0
        assert time.monotonic() - told_s >= LATE_ARRIVALS_S


def test_a_kept_alive_connection_without_a_request_lives_on_while_something_runs(
    paced: PacedServer, tmp_path: Path
) -> None:
    config = http1_config(paced.address, shutdown_grace_s=GRACE_S)
    with start_proxy(config, tmp_path) as proxy, connect(proxy) as idle, connect(proxy) as busy:
        assert get(idle, "/1/0") == (200, len(PIECE), None)
        busy.request("GET", "/600/1")
        paced.wait_for_requests(2)
        terminate(proxy)
        address = proxy.listener("outbound")
        proxy.wait_until(lambda: not accepts(address), "late arrivals over")
        assert get(idle, "/1/0") == (200, len(PIECE), "close")
        paced.hurry.set()
        assert len(busy.getresponse().read()) == 600 * len(PIECE)
        assert proxy.wait() == 0


def test_without_calls_the_proxy_exits_soon_after_late_arrivals(paced: PacedServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:  # at the same time, since each takes as long as late arrivals do
        for drained in [
            threads.submit(exits_in_time, paced, each, tmp_path / each) for each in ("http2", "http1", "detect")
        ]:
            drained.result()


def exits_in_time(paced: PacedServer, protocol: str, directory: Path) -> None:
    """Also with connections that are open and say nothing: kept alive, or silent since they came."""
    directory.mkdir()
    config = http1_config(paced.address, shutdown_grace_s=GRACE_S)
    config["listeners"][0]["protocol"] = protocol
    with start_proxy(config, directory) as proxy, contextlib.ExitStack() as clients:
        address = split_address(proxy.listener("outbound"))
        if protocol == "http2":
            client = Http2Client(proxy.listener("outbound"))
            clients.enter_context(client.socket)
        else:
            connection = clients.enter_context(connect(proxy))
            assert get(connection, "/1/0")[0] == 200
        if protocol == "http1":
            clients.enter_context(socket.create_connection(address))
        told_s = terminate(proxy)
        if protocol == "http2":
            while client.read():
                pass
            assert client.goaways == 2
        if protocol == "detect":
            with unless_later_than(told_s + LATE_ARRIVALS_S, OSError):
                clients.enter_context(socket.create_connection(address))  # is still being looked at when the end comes
        assert proxy.wait() == 0
        assert time.monotonic() - told_s >= LATE_ARRIVALS_S
