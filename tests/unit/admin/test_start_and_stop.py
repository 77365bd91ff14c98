"""The admin server's address, and its end."""

import asyncio

import pytest

from proxy.admin import server as admin
from proxy.admin.connection import Timeouts
from tests.support.ports import split_address
from tests.unit.admin.stage import (
    GET_LIVE,
    GET_METRICS,
    Source,
    admin_server,
    answers,
    ask,
    connected,
    large_plane,
    serving,
)
from tests.unit.fake_plane import Plane


def test_stop_closes_idle_connections_at_once(run):
    async def stop_took_s() -> float:
        server = admin_server(Source(Plane()))
        await server.start("127.0.0.1", 0)
        address = split_address(server.address)
        async with connected(server) as (kept, writer), connected(server) as (silent, _):
            writer.write(GET_LIVE)
            await kept.readuntil(b"live\n")
            before = asyncio.get_running_loop().time()
            await server.stop()
            took_s = asyncio.get_running_loop().time() - before
            assert await kept.read() == b""
            assert await silent.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        return took_s

    async def scenario():
        # Once is enough: where it waits, it waits every time.
        assert min([await stop_took_s() for _ in range(3)]) < admin.STOP_GRACE_S / 2

    run(scenario())


def test_stop_lets_an_answer_finish_and_begins_no_other(run):
    async def scenario():
        async with serving(Source(large_plane(300))) as server, connected(server) as (reader, writer):
            writer.write(GET_METRICS.replace(b"Connection: close\r\n", b"") + b"\r\n" + GET_LIVE)
            begun = await reader.readuntil(b"\r\n\r\n")
            stopping = asyncio.ensure_future(server.stop())
            (answer,) = answers(begun + await reader.read())
            assert answer.text.count("meshctl_request_total{") == 300
            await stopping

    run(scenario())


def test_stop_does_not_wait_for_a_client_that_does_not_read(run):
    async def scenario():
        async with serving(Source(large_plane(4000))) as server, connected(server, limit=1024) as (_, writer):
            writer.write(GET_METRICS + b"\r\n")
            await asyncio.sleep(0.1)
            async with asyncio.timeout(Timeouts().response_s / 2):
                await server.stop()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left

    run(scenario())


def test_stop_without_start(run):
    run(admin_server(Source(Plane())).stop())


def test_ipv6(run):
    async def scenario():
        server = admin_server(Source(Plane()))
        try:
            await server.start("::1", 0)
        except OSError:
            pytest.skip("no IPv6 on loopback")
        try:
            assert server.address.startswith("[::1]:")
            assert (await ask(server, "/live")).status == 200
        finally:
            await server.stop()

    run(scenario())


def test_an_address_in_use(run):
    async def scenario():
        async with serving(Source()) as server:
            other = admin_server(Source(Plane()))
            with pytest.raises(OSError, match=r"^\[Errno \d+\] cannot listen on .*: Address already in use$"):
                await other.start(*split_address(server.address))

    run(scenario())
