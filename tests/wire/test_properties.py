"""However a client's bytes are cut into reads, the result is the same."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.harness import Mesh
from tests.wire.loop import FakeTransport
from tests.wire.messages import message, request_headers
from tests.wire.peers import Client, Record, echo

BOUNDED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def script(client: Client) -> None:
    """What the client of the split test says: all kinds of calls, good and bad."""
    client.call(data=message(b"one" * 500))
    client.call([*request_headers(), (b"bad name", b"v")])
    client.call(data=message(b"two"), trailers=[(b"x-trailer", b"t")])
    left = client.call(data=message(b"left"), end=False)
    client.call([*request_headers(), *((b"x-%d" % n, b"v" * 100) for n in range(120))], b"over the limit")
    client.reset(left)
    client.h2.ping(b"12345678")
    client.call(request_headers("a.B/C", (b"grpc-timeout", b"0S")))
    client.call(data=message(b"x" * 20_000))


def replay(data: bytes, cuts: list[int]) -> tuple[dict[int, Record], list[dict[int, Record]], object]:
    """Feed a recorded byte stream in pieces; returns what client and servers saw, and the outcomes."""
    mesh = Mesh(2, serve=echo)
    client = mesh.client()
    # The recording has its own HPACK state, so the client only listens here.
    recorded = Client()
    script(recorded)
    client.streams = {stream: Record() for stream in recorded.streams}
    client.h2 = recorded.h2
    recorded.h2.data_to_send()
    transport: FakeTransport = mesh.link(client).transport
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        transport.feed(data[start:end])
        mesh.run()
    mesh.advance(1)
    saw = dict(client.streams)
    servers = [dict(server.streams) for server in mesh.servers]
    outcomes = mesh.outcomes()
    mesh.ledger()
    return saw, servers, outcomes


def recording() -> bytes:
    client = Client()
    client.take()
    script(client)
    return client.take()


RECORDING = recording()
WHOLE = replay(RECORDING, [])


def shape(record: Record) -> tuple[object, ...]:
    """A record without how its DATA was cut into frames."""
    order = [step for n, step in enumerate(record.order) if step != "data" or record.order[n - 1] != "data"]
    return record.headers, record.data, record.trailers, record.ended, record.reset, order


@BOUNDED
@given(st.lists(st.integers(1, len(RECORDING) - 1), max_size=12, unique=True).map(sorted))
def test_any_byte_split_gives_the_same_result(cuts: list[int]) -> None:
    saw, servers, outcomes = replay(RECORDING, cuts)
    assert {s: shape(r) for s, r in saw.items()} == {s: shape(r) for s, r in WHOLE[0].items()}
    assert outcomes == WHOLE[2]
    bodies = sorted(record.data for streams in servers for record in streams.values() if record.ended)
    assert bodies == sorted(record.data for streams in WHOLE[1] for record in streams.values() if record.ended)


def test_one_byte_at_a_time_gives_the_same_result() -> None:
    head = len(RECORDING) - 20_000
    saw, _, outcomes = replay(RECORDING, list(range(1, head)))
    assert {s: shape(r) for s, r in saw.items()} == {s: shape(r) for s, r in WHOLE[0].items()}
    assert outcomes == WHOLE[2]
