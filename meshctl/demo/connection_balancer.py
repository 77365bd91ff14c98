"""A TCP balancer that picks a pod for each connection, as kube-proxy does. A program of its own.

It stands for the Service of Kubernetes in the first phase: it never looks at what goes through.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys

_CHUNK_BYTES = 64 * 1024


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of `reader`, and hand the end on."""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


async def _relay(pods: list[str], client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
    host, _, port = random.choice(pods).rpartition(":")
    try:
        pod_reader, pod_writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:
        client_writer.close()
        return
    try:
        await asyncio.gather(_copy(client_reader, pod_writer), _copy(pod_reader, client_writer))
    finally:
        pod_writer.close()
        client_writer.close()


async def _serve(listen: str, pods: list[str]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    relays: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_relay(pods, reader, writer))
        relays.add(task)
        task.add_done_callback(relays.discard)

    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(accept, host.strip("[]"), int(port))
    await stopped.wait()
    server.close()
    for task in relays:
        task.cancel()
    await asyncio.gather(*relays, return_exceptions=True)


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description="Balance TCP connections over pods, one pod per connection.")
    parser.add_argument("--listen", required=True, help="host:port to listen on")
    parser.add_argument("pods", nargs="+", help="host:port of each pod")
    args = parser.parse_args()
    asyncio.run(_serve(args.listen, args.pods))
    return 0


if __name__ == "__main__":
    sys.exit(main())
