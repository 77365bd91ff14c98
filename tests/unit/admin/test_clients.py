"""Clients of the admin server that are slow, silent, too many, or gone."""

import asyncio
import contextlib
import socket

from proxy.admin import server as admin
from tests.unit.admin.stage import (
    GET_LIVE,
    GET_METRICS,
    SHORT,
    Source,
    answers,
    ask,
    connected,
    large_plane,
    received,
    serving,
)


def test_a_slow_request_times_out(run):
    async def scenario():
        async with serving(Source(), SHORT) as server, connected(server) as (reader, writer):

            async def drip() -> None:
                with contextlib.suppress(OSError):
                    for _ in range(1000):
                        writer.write(b"G")
                        await writer.drain()
                        await asyncio.sleep(0.02)

            dripping = asyncio.ensure_future(drip())
            try:
                async with asyncio.timeout(30):
                    (answer,) = answers(await reader.read())
            finally:
                dripping.cancel()
            assert answer.status == 408

    run(scenario())


def test_a_silent_connection_is_closed_without_a_word(run):
    async def scenario():
        async with serving(Source(), SHORT) as server:
            assert await received(server, b"") == b""
            kept = await received(server, GET_LIVE)
            assert [answer.status for answer in answers(kept)] == [200]

    run(scenario())


def test_a_client_that_does_not_read_is_cut_and_holds_nobody_up(run):
    async def scenario():
        plane = large_plane(6000)  # more than the kernel's buffers on both sides take
        async with serving(Source(plane), SHORT) as server, connected(server, limit=1024) as (reader, writer):
            writer.write(GET_METRICS + b"\r\n")
            assert (await ask(server, "/live")).status == 200
            await asyncio.sleep(2 * SHORT.response_s)
            # What had got through comes, the end never.
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(30):
                    assert not (await reader.read()).endswith(b"0\r\n\r\n")

    run(scenario())


def test_a_client_that_leaves_is_no_fault(run, caplog):
    async def scenario():
        async with serving(Source(large_plane(2000))) as server:
            for request in (b"", b"GET", GET_LIVE, GET_METRICS + b"\r\n"):
                async with connected(server) as (_, writer):
                    writer.write(request)
                    await writer.drain()
                    linger = (1).to_bytes(4, "little") + bytes(4)  # on, 0 s: close by reset
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
            assert (await ask(server, "/live")).status == 200

    run(scenario())
    assert caplog.text == ""


def test_too_many_connections_are_refused(run):
    async def scenario():
        async with serving(Source()) as server, contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(connected(server)) for _ in range(admin.MAX_CONNECTIONS)]
            for reader, writer in streams:
                writer.write(GET_LIVE)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            (refused,) = answers(await received(server, b""))
            assert (refused.status, refused.fields["connection"]) == (503, "close")
            streams[0][1].close()
            for _ in range(500):
                answer = await ask(server, "/live")
                if answer.status == 200:
                    break
                await asyncio.sleep(0.01)
            assert answer.status == 200

    run(scenario())
