"""`/probe/tcp/PORT`: what is there accepts connections, refuses them, or says nothing; and no port but those named."""

import asyncio
import contextlib
import socket
import time

import pytest

from proxy.net.listener import has_ipv6
from tests.support.ports import split_address
from tests.unit.admin.stage import Source, ask, serving


@contextlib.contextmanager
def listening(host="127.0.0.1", backlog=8):
    """A listening socket of which nobody takes connections, and its port: the kernel makes them all the same."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as held:
        held.bind((host, 0))
        held.listen(backlog)
        yield held, held.getsockname()[1]


def test_a_port_that_accepts(run):
    async def scenario():
        with listening() as (held, port):
            async with serving(Source(), probe_ports=(port,)) as server:
                answer = await ask(server, f"/probe/tcp/{port}")
                assert (answer.status, answer.text) == (200, f"port {port} accepts connections\n")
            connection, _ = held.accept()
            with connection:
                connection.settimeout(30)
                assert connection.recv(1) == b"", "it is closed, and nothing was sent"

    run(scenario())


def test_a_port_becomes_ready_when_the_application_listens(run):
    async def scenario():
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
            async with serving(Source(), probe_ports=(port,)) as server:
                answer = await ask(server, f"/probe/tcp/{port}")
                assert (answer.status, answer.text) == (503, f"port {port}: connection refused\n")
                held.listen()
                assert (await ask(server, f"/probe/tcp/{port}")).status == 200

    run(scenario())


def test_other_ports_are_no_page(run):
    async def scenario():
        with listening() as (_, named), listening() as (other_held, other):
            async with serving(Source(), probe_ports=(named,)) as server:
                for path in (f"/{other}", "/", "", f"/0{named}", f"/{named}/", f"/+{named}", f"/{named}%20", "/PORT"):
                    assert (await ask(server, f"/probe/tcp{path}")).status == 404, path
                assert (await ask(server, f"/probe/tcp/{named}", "POST")).status == 405
            other_held.setblocking(False)
            with pytest.raises(BlockingIOError):
                other_held.accept()

    run(scenario())


def test_without_probe_ports_there_is_no_probe(run):
    async def scenario():
        with listening() as (_, port):
            async with serving(Source()) as server:
                assert (await ask(server, f"/probe/tcp/{port}")).status == 404

    run(scenario())


def test_what_says_nothing_is_not_waited_for_longer_than_a_second(run):
    async def scenario():
        # A full backlog: the kernel drops what comes, as a firewall does.
        with listening(backlog=0) as (_, port), contextlib.ExitStack() as filling:
            for _ in range(4):
                connection = filling.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", port))
            async with serving(Source(), probe_ports=(port,)) as server:
                began_s = time.monotonic()
                probing = asyncio.ensure_future(ask(server, f"/probe/tcp/{port}"))
                await asyncio.sleep(0)
                assert (await ask(server, "/live")).status == 200, "others are answered meanwhile"
                answer = await probing
                assert (answer.status, answer.text) == (503, f"port {port}: no connection within 1 s\n")
                assert 0.9 < time.monotonic() - began_s < 30

    run(scenario())


@pytest.mark.parametrize(("asked", "status"), [("127.0.0.2", 200), ("127.0.0.1", 503)])
def test_the_address_is_the_one_that_was_asked(run, asked, status):
    async def scenario():
        with listening("127.0.0.2") as (_, port):
            async with serving(Source(), host=asked, probe_ports=(port,)) as server:
                assert (await ask(server, f"/probe/tcp/{port}")).status == status

    run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_on_all_addresses_probes_in_the_askers_family(run, host):
    async def scenario():
        with listening(host) as (_, port):
            async with serving(Source(), host="::", probe_ports=(port,)) as server:
                reader, writer = await asyncio.open_connection(host, split_address(server.address)[1])
                writer.write(f"GET /probe/tcp/{port} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
                writer.close()

    if ":" in host and not has_ipv6():
        pytest.skip("this host has no IPv6")
    run(scenario())
