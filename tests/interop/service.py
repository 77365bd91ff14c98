"""The interop test service as both sides see it: its methods, and its messages with their compressed flag.

Four of the cases are about the flag in each message's prefix that says whether it is compressed, which
grpcio does not show. Both sides therefore switch off grpcio's own decompression (`RAW_MESSAGES`) and do it
here: what arrives is then exactly what was on the wire, and gzip's first bytes tell a compressed message
from a plain one. No protobuf message starts like them: 0x1f would be field 3 of wire type 7, which does not
exist.
"""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tests.interop import testing_pb2

SERVICE = "grpc.testing.TestService"
UNIMPLEMENTED_SERVICE = "grpc.testing.UnimplementedService"

ECHO_INITIAL_KEY = "x-grpc-test-echo-initial"
ECHO_TRAILING_KEY = "x-grpc-test-echo-trailing-bin"

RAW_MESSAGES = ("grpc.per_message_decompression", 0)
GZIP_MAGIC = b"\x1f\x8b"

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Received(Generic[Message]):
    """A message and whether its sender had compressed it."""

    message: Message
    compressed: bool


def receiver(message_type: Any) -> Callable[[bytes], Received[Any]]:
    """A deserializer for a channel or server that has `RAW_MESSAGES` set."""

    def receive(wire: bytes) -> Received[Any]:
        compressed = wire.startswith(GZIP_MAGIC)
        return Received(message_type.FromString(gzip.decompress(wire) if compressed else wire), compressed)

    return receive


@dataclass(frozen=True, slots=True)
class Method:
    """One method: the types of its messages, and on which sides they stream."""

    request: Any
    response: Any
    request_streams: bool = False
    response_streams: bool = False


METHODS: Mapping[str, Method] = {
    "EmptyCall": Method(testing_pb2.Empty, testing_pb2.Empty),
    "UnaryCall": Method(testing_pb2.SimpleRequest, testing_pb2.SimpleResponse),
    "StreamingOutputCall": Method(
        testing_pb2.StreamingOutputCallRequest,
        testing_pb2.StreamingOutputCallResponse,
        response_streams=True,
    ),
    "StreamingInputCall": Method(
        testing_pb2.StreamingInputCallRequest,
        testing_pb2.StreamingInputCallResponse,
        request_streams=True,
    ),
    "FullDuplexCall": Method(
        testing_pb2.StreamingOutputCallRequest,
        testing_pb2.StreamingOutputCallResponse,
        request_streams=True,
        response_streams=True,
    ),
}
UNIMPLEMENTED_CALL = Method(testing_pb2.Empty, testing_pb2.Empty)


def payload(size_bytes: int) -> testing_pb2.Payload:
    """A payload of zeros, which any compression makes smaller."""
    return testing_pb2.Payload(body=bytes(size_bytes))
