"""The interop cases that need no credentials, as a grpcio client makes them.

Each case is a function that takes a client, asserts what the public interop test descriptions demand, and
returns the record of each call it made, so that two ways to the server can be compared.

Where grpcio leaves no choice the cases differ from the descriptions in one point: it has no way to send one
message uncompressed on a call that compresses. client_compressed_streaming therefore fills the message that
must go uncompressed with random bytes, which gzip cannot make smaller, so that grpcio sends it plain on its
own account.
"""

import random
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from tests.interop.client import InteropClient
from tests.interop.record import CallRecord
from tests.interop.service import (
    ECHO_INITIAL_KEY,
    ECHO_TRAILING_KEY,
    UNIMPLEMENTED_CALL,
    UNIMPLEMENTED_SERVICE,
    payload,
)
from tests.interop.testing_pb2 import (
    BoolValue,
    EchoStatus,
    Empty,
    Payload,
    ResponseParameters,
    SimpleRequest,
    StreamingInputCallRequest,
    StreamingOutputCallRequest,
)

LARGE_REQUEST_BYTES = 271_828
LARGE_RESPONSE_BYTES = 314_159
# (bytes of the response, bytes of the request) of each exchange of the ping-pong cases.
EXCHANGES = ((31_415, 27_182), (9, 8), (2_653, 1_828), (58_979, 45_904))
UNKNOWN = 2

Case = Callable[[InteropClient], list[CallRecord]]


def large_request(**fields: Any) -> SimpleRequest:
    return SimpleRequest(response_size=LARGE_RESPONSE_BYTES, payload=payload(LARGE_REQUEST_BYTES), **fields)


def exchange(response_bytes: int, request_bytes: int) -> StreamingOutputCallRequest:
    return StreamingOutputCallRequest(
        response_parameters=[ResponseParameters(size=response_bytes)], payload=payload(request_bytes)
    )


def empty_unary(client: InteropClient) -> list[CallRecord]:
    record, responses = client.call("EmptyCall", Empty())
    assert responses == [Empty()]
    return [record]


def large_unary(client: InteropClient) -> list[CallRecord]:
    record, responses = client.call("UnaryCall", large_request())
    assert [response.payload.body for response in responses] == [bytes(LARGE_RESPONSE_BYTES)]
    return [record]


def client_compressed_unary(client: InteropClient) -> list[CallRecord]:
    probe, _ = client.call("UnaryCall", large_request(expect_compressed=BoolValue(value=True)))
    assert probe.status == "INVALID_ARGUMENT", "the server cannot tell that a message is not compressed"
    records = [probe]
    for compressed in (True, False):
        request = large_request(expect_compressed=BoolValue(value=compressed))
        record, _ = client.call("UnaryCall", request, compress=compressed)
        assert (record.status, record.response_sizes) == ("OK", (LARGE_RESPONSE_BYTES,))
        records.append(record)
    return records


def server_compressed_unary(client: InteropClient) -> list[CallRecord]:
    records = []
    for compressed in (True, False):
        request = large_request(response_compressed=BoolValue(value=compressed))
        record, _ = client.call("UnaryCall", request)
        assert (record.status, record.response_sizes) == ("OK", (LARGE_RESPONSE_BYTES,))
        assert record.responses_compressed == (compressed,)
        records.append(record)
    return records


def client_streaming(client: InteropClient) -> list[CallRecord]:
    requests = [StreamingInputCallRequest(payload=payload(size)) for _, size in EXCHANGES]
    record, responses = client.call("StreamingInputCall", *requests)
    assert [response.aggregated_payload_size for response in responses] == [74_922]
    return [record]


def client_compressed_streaming(client: InteropClient) -> list[CallRecord]:
    first = StreamingInputCallRequest(payload=payload(27_182), expect_compressed=BoolValue(value=True))
    incompressible = Payload(body=random.Random(0).randbytes(45_904))
    second = StreamingInputCallRequest(payload=incompressible, expect_compressed=BoolValue(value=False))

    probe, _ = client.call("StreamingInputCall", first)
    assert probe.status == "INVALID_ARGUMENT", "the server cannot tell that a message is not compressed"
    record, responses = client.call("StreamingInputCall", first, second, compress=True)
    assert [response.aggregated_payload_size for response in responses] == [73_086]
    return [probe, record]


def server_streaming(client: InteropClient) -> list[CallRecord]:
    sizes = (31_415, 9, 2_653, 58_979)
    request = StreamingOutputCallRequest(response_parameters=[ResponseParameters(size=size) for size in sizes])
    record, _ = client.call("StreamingOutputCall", request)
    assert (record.status, record.response_sizes) == ("OK", sizes)
    return [record]


def server_compressed_streaming(client: InteropClient) -> list[CallRecord]:
    wanted = [
        ResponseParameters(size=31_415, compressed=BoolValue(value=True)),
        ResponseParameters(size=92_653, compressed=BoolValue(value=False)),
    ]
    record, _ = client.call("StreamingOutputCall", StreamingOutputCallRequest(response_parameters=wanted))
    assert (record.status, record.response_sizes) == ("OK", (31_415, 92_653))
    assert record.responses_compressed == (True, False)
    return [record]


def ping_pong(client: InteropClient) -> list[CallRecord]:
    requests: SimpleQueue[StreamingOutputCallRequest | None] = SimpleQueue()
    call = client.start("FullDuplexCall", iter(requests.get, None))
    for response_bytes, request_bytes in EXCHANGES:
        requests.put(exchange(response_bytes, request_bytes))
        assert len(call.next().message.payload.body) == response_bytes
    requests.put(None)
    record = call.finish()
    assert (record.status, len(record.response_sizes)) == ("OK", len(EXCHANGES))
    return [record]


def empty_stream(client: InteropClient) -> list[CallRecord]:
    record, responses = client.call("FullDuplexCall")
    assert (record.status, responses) == ("OK", [])
    return [record]


def custom_metadata(client: InteropClient) -> list[CallRecord]:
    initial = (ECHO_INITIAL_KEY, "test_initial_metadata_value")
    trailing = (ECHO_TRAILING_KEY, b"\xab\xab\xab")
    records = []
    for name, request in (
        ("UnaryCall", large_request()),
        ("FullDuplexCall", exchange(LARGE_RESPONSE_BYTES, LARGE_REQUEST_BYTES)),
    ):
        record, _ = client.call(name, request, metadata=(initial, trailing))
        assert (record.status, record.response_sizes) == ("OK", (LARGE_RESPONSE_BYTES,))
        assert initial in record.initial_metadata
        assert trailing in record.trailing_metadata
        records.append(record)
    return records


def status_code_and_message(client: InteropClient) -> list[CallRecord]:
    status = EchoStatus(code=UNKNOWN, message="test status message")
    records = []
    for name, request in (
        ("UnaryCall", SimpleRequest(response_status=status)),
        ("FullDuplexCall", StreamingOutputCallRequest(response_status=status)),
    ):
        record, _ = client.call(name, request)
        assert (record.status, record.details) == ("UNKNOWN", status.message)
        records.append(record)
    return records


def special_status_message(client: InteropClient) -> list[CallRecord]:
    message = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
    status = EchoStatus(code=UNKNOWN, message=message)
    record, _ = client.call("UnaryCall", SimpleRequest(response_status=status))
    assert (record.status, record.details) == ("UNKNOWN", message)
    return [record]


def unimplemented_method(client: InteropClient) -> list[CallRecord]:
    record, _ = client.call("UnimplementedCall", Empty(), method=UNIMPLEMENTED_CALL)
    assert record.status == "UNIMPLEMENTED"
    return [record]


def unimplemented_service(client: InteropClient) -> list[CallRecord]:
    record, _ = client.call("UnimplementedCall", Empty(), method=UNIMPLEMENTED_CALL, service=UNIMPLEMENTED_SERVICE)
    assert record.status == "UNIMPLEMENTED"
    return [record]


def cancel_after_begin(client: InteropClient) -> list[CallRecord]:
    never: SimpleQueue[StreamingInputCallRequest | None] = SimpleQueue()
    call = client.start("StreamingInputCall", iter(never.get, None))
    call.cancel()
    never.put(None)  # lets grpcio's thread that takes the requests end
    record = call.finish()
    assert record.status == "CANCELLED"
    return [record]


def cancel_after_first_response(client: InteropClient) -> list[CallRecord]:
    requests: SimpleQueue[StreamingOutputCallRequest | None] = SimpleQueue()
    call = client.start("FullDuplexCall", iter(requests.get, None))
    requests.put(exchange(*EXCHANGES[0]))
    call.next()
    call.cancel()
    requests.put(None)
    record = call.finish()
    assert (record.status, record.response_sizes) == ("CANCELLED", (EXCHANGES[0][0],))
    return [record]


def timeout_on_sleeping_server(client: InteropClient) -> list[CallRecord]:
    sleep_us = 2_000_000
    request = StreamingOutputCallRequest(
        response_parameters=[ResponseParameters(size=1, interval_us=sleep_us)], payload=payload(27_182)
    )

    def one_and_no_end() -> Iterator[StreamingOutputCallRequest]:
        yield request
        finished.get()

    finished: SimpleQueue[None] = SimpleQueue()
    call = client.start("FullDuplexCall", one_and_no_end(), timeout_s=0.001)
    record = call.finish()
    finished.put(None)
    assert record.status == "DEADLINE_EXCEEDED"
    return [record.without_deadline_maker()]


CASES: tuple[Case, ...] = (
    empty_unary,
    large_unary,
    client_compressed_unary,
    server_compressed_unary,
    client_streaming,
    client_compressed_streaming,
    server_streaming,
    server_compressed_streaming,
    ping_pong,
    empty_stream,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
)
