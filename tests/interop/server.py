"""The interop test service on a real grpcio server, in a process of its own.

    python -m tests.interop.server 127.0.0.1:50051

Does what the public interop test descriptions ask of a server, for the cases that need no credentials. It
compresses a response message when the request asks for it, and answers INVALID_ARGUMENT when a request
message's compressed flag is not what the message says it should be. SIGTERM stops it; exit status 0.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tests.interop import testing_pb2
from tests.interop.service import (
    ECHO_INITIAL_KEY,
    ECHO_TRAILING_KEY,
    METHODS,
    RAW_MESSAGES,
    SERVICE,
    Received,
    payload,
    receiver,
)

CODES = {code.value[0]: code for code in grpc.StatusCode}
OPTIONS = (RAW_MESSAGES, ("grpc.so_reuseport", 0))


async def empty_call(_request: Received[testing_pb2.Empty], _call: Any) -> testing_pb2.Empty:
    return testing_pb2.Empty()


async def unary_call(received: Received[testing_pb2.SimpleRequest], call: Any) -> testing_pb2.SimpleResponse:
    request = received.message
    await echo_metadata(call)
    await check_compressed(received, call)
    await check_status(request, call)
    if request.HasField("response_compressed"):
        call.set_compression(grpc.Compression.Gzip)
        # Left to itself, grpcio sends the headers of a unary response without the encoding just chosen.
        await call.send_initial_metadata(())
        if not request.response_compressed.value:
            call.disable_next_message_compression()
    return testing_pb2.SimpleResponse(payload=payload(request.response_size))


async def streaming_output_call(
    received: Received[testing_pb2.StreamingOutputCallRequest], call: Any
) -> AsyncIterator[testing_pb2.StreamingOutputCallResponse]:
    await echo_metadata(call)
    if any(wanted.HasField("compressed") for wanted in received.message.response_parameters):
        # Chosen for the call, before its headers go; then left out for single messages.
        call.set_compression(grpc.Compression.Gzip)
    async for response in responses_to(received.message, call):
        yield response


async def streaming_input_call(
    requests: AsyncIterator[Received[testing_pb2.StreamingInputCallRequest]], call: Any
) -> testing_pb2.StreamingInputCallResponse:
    await echo_metadata(call)
    total_bytes = 0
    async for received in requests:
        await check_compressed(received, call)
        total_bytes += len(received.message.payload.body)
    return testing_pb2.StreamingInputCallResponse(aggregated_payload_size=total_bytes)


async def full_duplex_call(
    requests: AsyncIterator[Received[testing_pb2.StreamingOutputCallRequest]], call: Any
) -> AsyncIterator[testing_pb2.StreamingOutputCallResponse]:
    await echo_metadata(call)
    async for received in requests:
        await check_status(received.message, call)
        async for response in responses_to(received.message, call):
            yield response


async def responses_to(
    request: testing_pb2.StreamingOutputCallRequest, call: Any
) -> AsyncIterator[testing_pb2.StreamingOutputCallResponse]:
    for wanted in request.response_parameters:
        await asyncio.sleep(wanted.interval_us / 1e6)
        if not wanted.compressed.value:
            call.disable_next_message_compression()
        yield testing_pb2.StreamingOutputCallResponse(payload=payload(wanted.size))


async def echo_metadata(call: Any) -> None:
    """Sends back the two fields the cases ask for: one before the messages, one after them."""
    sent = call.invocation_metadata() or ()
    call.set_trailing_metadata(tuple(field for field in sent if field[0] == ECHO_TRAILING_KEY))
    initial = tuple(field for field in sent if field[0] == ECHO_INITIAL_KEY)
    if initial:
        await call.send_initial_metadata(initial)


async def check_compressed(received: Received[Any], call: Any) -> None:
    message = received.message
    if message.HasField("expect_compressed") and message.expect_compressed.value != received.compressed:
        problem = f"compressed: {received.compressed}, expected: {message.expect_compressed.value}"
        await call.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)


async def check_status(request: Any, call: Any) -> None:
    if request.HasField("response_status"):
        wanted = request.response_status
        await call.abort(CODES[wanted.code], wanted.message)


def method_table() -> grpc.GenericRpcHandler:
    functions: dict[str, Any] = {
        "EmptyCall": empty_call,
        "UnaryCall": unary_call,
        "StreamingOutputCall": streaming_output_call,
        "StreamingInputCall": streaming_input_call,
        "FullDuplexCall": full_duplex_call,
    }
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    methods = {
        name: kinds[method.request_streams, method.response_streams](
            functions[name], receiver(method.request), method.response.SerializeToString
        )
        for name, method in METHODS.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


async def serve(address: str) -> None:
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((method_table(),))
    server.add_insecure_port(address)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    await stopping.wait()
    await server.stop(grace=1)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
