"""An HTTP server that answers with what it sees of a connection; also stands in for a proxy behind a redirect.

    python -m tests.netns.witness NAME PORT...

The answer to any request is JSON: the server's `name`, the `port` the connection was accepted at, its `peer`'s IP
address, and the `original` destination ("ip:port") before a redirect, which without one is the server's own address.
It listens on all addresses of both families. SIGTERM: exit status 0.
"""

import asyncio
import contextlib
import json
import signal
import socket
import struct
import sys

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST is the same
SOCKADDR_BYTES = {socket.AF_INET: 16, socket.AF_INET6: 28}
SOURCES = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def original_destination(accepted: socket.socket) -> str | None:
    """The "ip:port" the client connected to; None if the kernel does not track the connection."""
    level = socket.SOL_IP if accepted.family is socket.AF_INET else socket.IPPROTO_IPV6
    try:
        address = accepted.getsockopt(level, SO_ORIGINAL_DST, SOCKADDR_BYTES[accepted.family])
    except OSError:
        return None
    (port,) = struct.unpack_from("!H", address, 2)
    if accepted.family is socket.AF_INET:
        return f"{socket.inet_ntop(socket.AF_INET, address[4:8])}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address[8:24])}]:{port}"


async def serve(name: str, ports: list[int]) -> None:
    """Serves until SIGTERM."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        seen = {
            "name": name,
            "port": accepted.getsockname()[1],
            "peer": accepted.getpeername()[0],
            "original": original_destination(accepted),
        }
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(seen).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with contextlib.AsyncExitStack() as servers:
        for port in ports:
            for family in [socket.AF_INET] + [socket.AF_INET6] * socket.has_dualstack_ipv6():
                server = await asyncio.start_server(answer, SOURCES[family], port, family=family)
                await servers.enter_async_context(server)
        await stopping.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], list(map(int, sys.argv[2:]))))
