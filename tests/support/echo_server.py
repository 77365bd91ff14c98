"""A grpcio server whose calls do what their metadata says: the usual server behind the proxy in tests.

    python -m tests.support.echo_server 127.0.0.1:50051 NAME [tls=DIRECTORY] [CHANNEL_ARGUMENT=NUMBER ...]

Service `mesh.test.Echo`; messages are plain bytes, without protobuf:
    Unary    answers with the request
    Collect  (client streaming) answers with "<messages> <bytes>"
    Expand   (server streaming) answers "<count> <bytes>" with so many messages of that size
    Chat     (bidirectional) answers each message with itself, and the end of the requests with "end"

Request metadata:
    sleep-s     waits so long before the first answer; Chat before "end" as well
    status-bin  "<number> <message>" in UTF-8: ends with this status instead, without having sent headers
    call-id     writes what happens to the call to stdout, as JSON lines: "start" (with the metadata and the
                remaining time), then "end" or "cancelled"; `at_s` is on the machine's monotonic clock
    initial-*   comes back in the initial metadata;  trailing-*  in the trailing metadata
The trailing metadata always name the server (`server`). CHANNEL_ARGUMENTs are gRPC's own, such as
grpc.max_connection_age_ms. With `tls` it speaks TLS, with cert.pem and key.pem of the directory.
SIGTERM: GOAWAY, running calls finish, exit status 0.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

SERVICE = "mesh.test.Echo"
CODES = {code.value[0]: code for code in grpc.StatusCode}
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)
GRACE_S = 10


class Echo:
    """The four methods. `name` goes into the trailing metadata."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def unary(self, request: bytes, call: Any) -> bytes:
        async with self._steered(call):
            return request

    async def collect(self, requests: AsyncIterator[bytes], call: Any) -> bytes:
        async with self._steered(call):
            sizes = [len(request) async for request in requests]
            return f"{len(sizes)} {sum(sizes)}".encode()

    async def expand(self, request: bytes, call: Any) -> AsyncIterator[bytes]:
        async with self._steered(call):
            count, size_bytes = map(int, request.split())
            for _ in range(count):
                yield bytes(size_bytes)

    async def chat(self, requests: AsyncIterator[bytes], call: Any) -> AsyncIterator[bytes]:
        async with self._steered(call) as sleep_s:
            async for request in requests:
                yield request
            await asyncio.sleep(sleep_s)
            yield b"end"

    @asynccontextmanager
    async def _steered(self, call: Any) -> AsyncIterator[float]:
        """Does what the metadata says before a call is answered, and tells how it went; gives `sleep-s`."""
        metadata = tuple(call.invocation_metadata() or ())
        wanted = dict(metadata)
        call_id = str(wanted.get("call-id", ""))
        fields = [[key, value.hex() if isinstance(value, bytes) else value] for key, value in metadata]
        tell(call_id, "start", metadata=fields, remaining_s=call.time_remaining())
        ending = "cancelled"
        try:
            trailing = [field for field in metadata if field[0].startswith("trailing-")]
            call.set_trailing_metadata((*trailing, ("server", self._name)))
            sleep_s = float(wanted.get("sleep-s", 0))
            await asyncio.sleep(sleep_s)
            if "status-bin" in wanted:
                code, _, message = wanted["status-bin"].decode().partition(" ")
                ending = "end"
                await call.abort(CODES[int(code)], message)
            initial = tuple(field for field in metadata if field[0].startswith("initial-"))
            if initial:
                await call.send_initial_metadata(initial)
            yield sleep_s
            ending = "end"
        finally:
            tell(call_id, ending)


def tell(call_id: str, event: str, **facts: Any) -> None:
    if call_id:
        print(json.dumps({"call": call_id, "event": event, "at_s": time.monotonic(), **facts}), flush=True)


def credentials(directory: Path) -> grpc.ServerCredentials:
    key, certificate = (directory.joinpath(name).read_bytes() for name in ("key.pem", "cert.pem"))
    return grpc.ssl_server_credentials([(key, certificate)])


async def serve(address: str, name: str, *arguments: str) -> None:
    echo = Echo(name)
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Collect": grpc.stream_unary_rpc_method_handler(echo.collect),
        "Expand": grpc.unary_stream_rpc_method_handler(echo.expand),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat),
    }
    given = dict(argument.split("=", 1) for argument in arguments)
    tls = given.pop("tls", "")
    options = [(key, int(value)) for key, value in given.items()]
    server = grpc.aio.server(options=(*OPTIONS, *options))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    if tls:
        server.add_secure_port(address, credentials(Path(tls)))
    else:
        server.add_insecure_port(address)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    await stopping.wait()
    await server.stop(GRACE_S)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
