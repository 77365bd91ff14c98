"""With few descriptors: clients beyond the limit wait and are served later, and calls that run are not harmed."""

import contextlib
import resource
import socket
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import echo_config
from tests.support.memory import descriptors
from tests.support.paced_server import PIECE, PacedServer
from tests.support.ports import split_address
from tests.support.process import ProxyProcess
from tests.support.waiting import PATIENCE_S

LIMIT = 256
MOST = (LIMIT - 64) // 2  # proxy/net/gate.py
BEYOND = 150
REQUEST = b"GET /1/0 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children get LIMIT descriptors, and may not take more."""
    prefix = (sys.executable, "-c", PROGRAM, str(LIMIT))
    monkeypatch.setattr("tests.support.process.PROXY_COMMAND", (*prefix, sys.executable, "-m", "proxy"))


PROGRAM = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Client:
    """A connection with one request."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.sendall(REQUEST)
        self._received = b""

    def answered(self, timeout_s: float = PATIENCE_S) -> bool:
        """Whether the answer is there by then."""
        self.socket.settimeout(timeout_s)
        try:
            while not self._received.endswith(PIECE):
                data = self.socket.recv(65_536)
                assert data, "closed instead of answered"
                self._received += data
        except TimeoutError:
            return False
        return self._received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("few_descriptors")
@pytest.mark.parametrize("protocol", ["http1", "detect"])
def test_clients_beyond_the_limit_wait_and_are_served_when_others_close(protocol: str, tmp_path: Path) -> None:
    with PacedServer() as server, contextlib.ExitStack() as open_now:
        config = echo_config(server.address)
        config["listeners"][0]["protocol"] = protocol
        config["clusters"][0]["protocol"] = "detect"
        proxy = open_now.enter_context(ProxyProcess(config, tmp_path))
        proxy.wait_until(proxy.ready, "ready")
        address = split_address(proxy.listener("outbound"))

        running = open_now.enter_context(socket.create_connection(address))
        running.sendall(b"GET /600/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for_requests(1)
        clients = [Client(address) for _ in range(MOST + BEYOND)]
        for client in clients:
            open_now.enter_context(client.socket)
        answered = [client for client in clients[: MOST - 2] if client.answered()]
        answered += [client for client in clients[MOST - 2 :] if client.answered(0.02)]
        assert MOST - 2 <= len(answered) + 1 <= MOST + 1
        assert descriptors(proxy.pid) < LIMIT, "all of those have their connection to the endpoint, too"
        assert proxy.ready(), "the admin port has descriptors of its own"

        late = [client for client in clients if client not in answered]
        for client in answered:
            client.socket.close()
        assert sum(client.answered() for client in late[: MOST - 10]) == MOST - 10
        for client in late[: MOST - 10]:
            client.socket.close()
        assert all(client.answered() for client in late[MOST - 10 :])
        server.hurry.set()
        whole = b""
        running.settimeout(PATIENCE_S)
        while len(whole) < 600 * len(PIECE):
            data = running.recv(65_536)
            assert data, "the call that ran was cut"
            whole += data
        assert "Too many open files" not in proxy.stderr()
        assert proxy.stderr().count("others wait") >= 1


def test_the_proxy_takes_as_many_descriptors_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAM.replace("(limit, limit)", "(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])")
    command = (sys.executable, "-c", program, str(LIMIT), sys.executable, "-m", "proxy")
    monkeypatch.setattr("tests.support.process.PROXY_COMMAND", command)
    with ProxyProcess(echo_config("127.0.0.1:1"), tmp_path) as proxy:
        proxy.wait_until(proxy.ready, "ready")
        soft, hard = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > LIMIT
