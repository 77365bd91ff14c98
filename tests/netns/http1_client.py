"""An HTTP/1.1 and WebSocket client in a pod, on aiohttp, with one connection that is kept.

    python -m tests.netns.http1_client requests URL COUNT     COUNT requests one after another, the connection kept
    python -m tests.netns.http1_client echo URL BYTES         sends so many bytes in chunks
    python -m tests.netns.http1_client socket URL             opens a WebSocket and talks

It writes JSON: for `requests` the answers by server; for `echo` whether the body came back; for `socket` the
messages and the code it was closed with.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

PIECE = bytes(range(256)) * 64


async def requests(session: aiohttp.ClientSession, url: str, count: str) -> Any:
    servers: Counter[str] = Counter()
    for _ in range(int(count)):
        async with session.get(url) as response:
            assert response.status == 200
            servers[(await response.text()).strip()] += 1
    return servers


async def echo(session: aiohttp.ClientSession, url: str, length: str) -> Any:
    body = (PIECE * (int(length) // len(PIECE) + 1))[: int(length)]

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), len(PIECE)):
            yield body[start : start + len(PIECE)]

    async with session.post(url, data=pieces()) as response:
        chunked = response.headers.get("transfer-encoding")
        return {"status": response.status, "chunked": chunked, "same": await response.read() == body}


async def socket(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.ws_connect(url) as connected:
        heard = []
        for message in ("one", "x" * 100_000):
            await connected.send_str(message)
            heard.append(await connected.receive_str() == message)
        await connected.send_bytes(PIECE)
        heard.append(await connected.receive_bytes() == PIECE)
        await connected.send_str("bye")
        closing = await connected.receive()
        return {"heard": heard, "closed": closing.data, "why": closing.extra}


async def main(what: str, *arguments: str) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        print(json.dumps(await {"requests": requests, "echo": echo, "socket": socket}[what](session, *arguments)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
