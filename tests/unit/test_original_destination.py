"""The address a redirected connection was going to, asked of real sockets behind real iptables rules.

Each test has a network namespace of its own: that of a thread, which vanishes with the thread and its sockets.
"""

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest
import uvloop

from proxy.net.original import is_local, original_destination

CLONE_NEWNET = 0x40000000  # sched.h
SERVICE, SERVICE6 = "192.0.2.7", "2001:db8::7"
SERVICE_PORT, PROXY_PORT = 80, 4140
TIMEOUT_S = 30
ADDRESSES = f"link set lo up\naddress add {SERVICE}/32 dev lo\naddress add {SERVICE6}/128 dev lo nodad\n"
REDIRECT = f"*nat\n-A OUTPUT -p tcp --dport {SERVICE_PORT} -j REDIRECT --to-ports {PROXY_PORT}\nCOMMIT\n"

Run = Callable[..., Any]
LOOPS = [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]
# Where the proxy listens, what a client dials to be redirected, and what it dials to reach the proxy itself.
FAMILIES = [
    pytest.param("127.0.0.1", SERVICE, "127.0.0.1", id="IPv4"),
    pytest.param("::1", SERVICE6, "::1", id="IPv6"),
    pytest.param("::", SERVICE, "127.0.0.1", id="IPv4 on an IPv6 socket"),
    pytest.param("::", SERVICE6, "::1", id="IPv6 on a socket of both"),
]


def command(*words: str, text: str = "") -> None:
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(words)}: {done.stderr.strip()}")


def leave_namespace() -> None:
    """Gives the calling thread a network namespace of its own, that has nothing but its loopback."""
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare came with Python 3.12
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.skip(f"no network namespaces on this machine: {os.strerror(ctypes.get_errno())}")
    command("ip", "-batch", "-", text=ADDRESSES)


@pytest.fixture
def inside() -> Iterator[Executor]:
    """Runs functions in one thread, in a network namespace without rules."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if missing := [name for name in ("ip", "iptables-restore", "ip6tables-restore") if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with ThreadPoolExecutor(max_workers=1) as executor:
        executor.submit(leave_namespace).result()
        yield executor


@pytest.fixture
def redirected(inside: Executor) -> Executor:
    """Runs functions where connections to the service's port arrive at the proxy's."""
    for program in ("iptables-restore", "ip6tables-restore"):
        inside.submit(command, program, text=REDIRECT).result()
    return inside


def listening(host: str) -> socket.socket:
    """A socket that listens where the proxy would, for both families if `host` is "::"."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, PROXY_PORT), family=family, dualstack_ipv6=host == "::")


async def accepted(listen_on: str, dial: tuple[str, int]) -> tuple[tuple[str, int] | None, bool]:
    """What the proxy finds of a connection to `dial`: its original destination, and whether that is local."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[tuple[tuple[str, int] | None, bool]] = loop.create_future()

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            try:
                destination = original_destination(sock)
                found.set_result((destination, destination is not None and is_local(destination, sock)))
            except Exception as error:
                found.set_exception(error)

    server = await loop.create_server(Accepted, sock=listening(listen_on))
    async with asyncio.timeout(TIMEOUT_S), server:
        client, _ = await loop.create_connection(asyncio.Protocol, *dial)
        try:
            return await found
        finally:
            client.close()


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(("listen_on", "service", "_proxy"), FAMILIES)
def test_a_redirected_connection_tells_where_it_was_going(
    redirected: Executor, run: Run, listen_on: str, service: str, _proxy: str
) -> None:
    found = redirected.submit(lambda: run(accepted(listen_on, (service, SERVICE_PORT)))).result()
    assert found == ((service, SERVICE_PORT), False)


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(("listen_on", "_service", "proxy"), FAMILIES)
def test_a_connection_to_the_proxy_itself_is_local(
    redirected: Executor, run: Run, listen_on: str, _service: str, proxy: str
) -> None:
    found = redirected.submit(lambda: run(accepted(listen_on, (proxy, PROXY_PORT)))).result()
    assert found == ((proxy, PROXY_PORT), True)


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize(("listen_on", "_service", "proxy"), FAMILIES)
def test_a_connection_that_is_not_tracked_has_no_original_destination(
    inside: Executor, run: Run, listen_on: str, _service: str, proxy: str
) -> None:
    assert inside.submit(lambda: run(accepted(listen_on, (proxy, PROXY_PORT)))).result() == (None, False)


def test_without_a_namespace_it_is_none_or_local() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        sock, _ = listener.accept()
        with sock:
            destination = original_destination(sock)
            assert destination is None or is_local(destination, sock)
            host, port = sock.getsockname()
            assert is_local((host, port), sock)
            assert not is_local((host, port ^ 1), sock)
            assert not is_local(("127.0.0.2", port), sock)


def test_a_closed_socket_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        original_destination(listener)
