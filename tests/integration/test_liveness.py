"""Peers that vanish without a word are found: the kernel has a keepalive timer for each of the proxy's connections."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import echo_config
from tests.support.echo import echo_servers
from tests.support.ports import split_address
from tests.support.process import start_proxy
from tests.support.waiting import wait_until

ESTABLISHED = "01"
KEEPALIVE = "02"  # the timer that runs, in /proc/net/tcp
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def timers(local: int = 0, remote: int = 0) -> list[str]:
    """The timers of established connections from or to these ports, 0 being any."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        row[5].partition(":")[0]
        for row in rows
        if row[3] == ESTABLISHED
        and local in (0, int(row[1].rpartition(":")[2], 16))
        and remote in (0, int(row[2].rpartition(":")[2], 16))
    ]


@contextlib.contextmanager
def endpoint(protocol: str) -> Iterator[str]:
    if protocol == "http2":
        with echo_servers("a") as servers:
            yield servers[0].address
        return
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(("protocol", "first"), [("tcp", b"\0"), ("http1", REQUEST), ("http2", PREFACE)])
def test_every_connection_is_kept_alive(protocol: str, first: bytes, tmp_path: Path) -> None:
    with endpoint(protocol) as address:
        config = echo_config(address)
        config["listeners"][0]["protocol"] = protocol
        config["clusters"][0]["protocol"] = "detect" if protocol == "http1" else protocol
        with start_proxy(config, tmp_path) as proxy:
            listener = split_address(proxy.listener("outbound"))
            with socket.create_connection(listener) as client:
                client.sendall(first)
                wait_until(lambda: timers(local=listener[1]) == [KEEPALIVE], "the client is kept alive")
                port = split_address(address)[1]
                wait_until(lambda: timers(remote=port) == [KEEPALIVE], "the endpoint is kept alive")
