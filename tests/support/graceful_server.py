"""A gRPC server that stops without losing a call: GOAWAY, then the streams it still has, then the end.

    python -m tests.support.graceful_server 127.0.0.1:50051 NAME [MAX_CONCURRENT_STREAMS]

grpcio's own server cannot be used where no call may fail: from the moment it is told to stop until its
clients know, it answers the calls that arrive with CANCELLED. This one, on `h2`, stops as RFC 9113 section
6.8 advises: GOAWAY(2^31-1), a PING, and when that comes back GOAWAY with the last stream it has seen; what
is up to there is answered. It is as exact about MAX_CONCURRENT_STREAMS (100 if not given): a client that
opens one stream more is cut off. Every unary call gets its request back, after a moment, with the trailer
`server: NAME`. SIGTERM stops it; exit status 0.
"""

import asyncio
import signal
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, PingAckReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from tests.support.ports import split_address

ANSWER_AFTER_S = 0.005
LAST_STREAM_ID = 2**31 - 1


class Connection(asyncio.Protocol):
    """One client's connection. `drained` is set when its last stream has been answered after `drain`."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        limit = {SettingCodes.MAX_CONCURRENT_STREAMS: server.max_streams}
        self._h2.local_settings = Settings(client=False, initial_values=limit)
        self._bodies: dict[int, bytearray] = {}
        self._last_stream_id = 0
        self._draining = self._last_goaway_sent = False
        self.drained = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.connections.discard(self)
        self.drained.set()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def drain(self) -> None:
        """Promises every stream that is on its way, and asks with a PING when the client has heard of it."""
        self._draining = True
        self._transport.write(GoAwayFrame(0, last_stream_id=LAST_STREAM_ID).serialize())
        self._h2.ping(b"draining")
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(stream_id)):
                self._last_stream_id = stream_id
                self._bodies[stream_id] = bytearray()
            case DataReceived(stream_id=int(stream_id), data=bytes(data), flow_controlled_length=int(length)):
                self._bodies[stream_id] += data
                self._h2.acknowledge_received_data(length, stream_id)
            case StreamEnded(stream_id=int(stream_id)):
                asyncio.get_running_loop().call_later(ANSWER_AFTER_S, self._answer, stream_id)
            case StreamReset(stream_id=int(stream_id)):
                self._bodies.pop(stream_id, None)
                self._close_when_drained()
            case PingAckReceived() if self._draining:
                # Not through h2, which would take nothing more from a connection it has said GOAWAY on.
                self._transport.write(GoAwayFrame(0, last_stream_id=self._last_stream_id).serialize())
                self._last_goaway_sent = True
                self._close_when_drained()

    def _answer(self, stream_id: int) -> None:
        body = self._bodies.pop(stream_id, None)
        if body is None or self.drained.is_set():
            return
        self._h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        self._h2.send_data(stream_id, bytes(body))
        trailers = [("grpc-status", "0"), ("server", self._server.name)]
        self._h2.send_headers(stream_id, trailers, end_stream=True)
        self._flush()
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self._last_goaway_sent and not self._bodies:
            self._transport.close()

    def _flush(self) -> None:
        self._transport.write(self._h2.data_to_send())


class Server:
    """A server called `name`, and its connections."""

    def __init__(self, name: str, max_streams: int) -> None:
        self.name = name
        self.max_streams = max_streams
        self.connections: set[Connection] = set()

    async def serve(self, address: str) -> None:
        """Serves at "host:port" until SIGTERM, then drains."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
        listener = await loop.create_server(lambda: Connection(self), *split_address(address))
        await stopping.wait()
        listener.close()
        draining = list(self.connections)
        for connection in draining:
            connection.drain()
        await asyncio.gather(*(connection.drained.wait() for connection in draining))


if __name__ == "__main__":
    address, name, *limit = sys.argv[1:]
    asyncio.run(Server(name, int(limit[0]) if limit else 100).serve(address))
