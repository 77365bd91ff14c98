"""Servers of bytes for a pod: none of them is HTTP, and what comes first is up to each.

    python -m tests.netns.echo_tcp PORT KIND [NAME]

KIND:
    echo     sends back what it gets
    answer   reads to the end of the request, then answers with its NAME, the length and the SHA-256 of all of it
    source   reads a line with a number, and sends so many bytes of a known pattern, then closes
    greeter  speaks first: a line with its NAME; then echoes, like the servers of SMTP, SSH, FTP and MySQL
    deaf     reads and says nothing
It listens on all addresses of both families. SIGTERM: exit status 0.
"""

import asyncio
import contextlib
import hashlib
import signal
import socket
import sys
from asyncio import StreamReader, StreamWriter

PIECE_BYTES = 1 << 18
PATTERN = bytes(range(256)) * (PIECE_BYTES // 256)


async def copy(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()


async def answer(reader: StreamReader, writer: StreamWriter, name: str) -> None:
    digest, length = hashlib.sha256(), 0
    while data := await reader.read(PIECE_BYTES):
        digest.update(data)
        length += len(data)
    writer.write(f"{name} {length} {digest.hexdigest()}".encode())


async def source(reader: StreamReader, writer: StreamWriter) -> None:
    left = int(await reader.readline())
    while left:
        piece = PATTERN[:left]
        writer.write(piece)
        left -= len(piece)
        await writer.drain()


async def speak(kind: str, name: str, reader: StreamReader, writer: StreamWriter) -> None:
    match kind:
        case "echo":
            await copy(reader, writer)
        case "answer":
            await answer(reader, writer, name)
        case "source":
            await source(reader, writer)
        case "greeter":
            writer.write(f"220 {name} ready\r\n".encode())
            await copy(reader, writer)
        case "deaf":
            while await reader.read(PIECE_BYTES):
                pass


async def serve(port: int, kind: str, name: str) -> None:
    """Serves until SIGTERM."""

    async def connected(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await speak(kind, name, reader, writer)
            writer.close()
            await writer.wait_closed()

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with contextlib.AsyncExitStack() as servers:
        for host, family in [("0.0.0.0", socket.AF_INET)] + [("::", socket.AF_INET6)] * socket.has_dualstack_ipv6():
            server = await asyncio.start_server(connected, host, port, family=family, limit=PIECE_BYTES)
            await servers.enter_async_context(server)
        await stopping.wait()
        for server in asyncio.all_tasks() - {asyncio.current_task()}:
            server.cancel()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
