"""A grpcio client that makes calls to the interop service and records what it sees of each."""

import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from tests.interop.record import CallRecord, Metadata
from tests.interop.service import METHODS, RAW_MESSAGES, SERVICE, Method, Received, receiver

# A connection of its own for each client, and never through an HTTP proxy that the environment names.
OPTIONS = (RAW_MESSAGES, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
TIMEOUT_S = 30


class Call:
    """A call under way, and the responses taken from it so far."""

    def __init__(self, path: str, call: Any, streams: bool) -> None:
        self.received: list[Received[Any]] = []
        self._path = path
        self._call = call
        self._streams = streams

    def next(self) -> Received[Any]:
        """Waits for one response of a streaming call."""
        self.received.append(next(self._call))
        return self.received[-1]

    def cancel(self) -> None:
        self._call.cancel()

    def finish(self) -> CallRecord:
        """Takes the responses that are left, waits for the status, and tells what was seen."""
        with contextlib.suppress(grpc.RpcError, grpc.FutureCancelledError):
            if self._streams:
                self.received.extend(self._call)
            else:
                self.received.append(self._call.result())
        return CallRecord(
            self._path,
            self._call.code().name,
            self._call.details(),
            tuple(_size_bytes(one.message) for one in self.received),
            tuple(one.compressed for one in self.received),
            _plain(self._call.initial_metadata()),
            _plain(self._call.trailing_metadata()),
        )


class InteropClient:
    """A connection to the interop service at `address`."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        grpc.channel_ready_future(self._channel).result(TIMEOUT_S)

    def start(
        self,
        name: str,
        requests: Iterable[Any],
        *,
        service: str = SERVICE,
        method: Method | None = None,
        metadata: Metadata = (),
        compress: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Call:
        """Starts a call of the method called `name`; one that does not stream takes the first of `requests`.

        With `compress` grpcio compresses each request message that gzip makes smaller, and only those.
        """
        kind = method or METHODS[name]
        path = f"/{service}/{name}"
        messages = (kind.request.SerializeToString, receiver(kind.response))
        settings = {
            "timeout": timeout_s,
            "metadata": metadata,
            "compression": grpc.Compression.Gzip if compress else None,
        }
        if kind.request_streams:
            # Also where one response is due: grpcio's client-streaming future forgets `compression`, and on
            # the wire the two are the same.
            call = self._channel.stream_stream(path, *messages)(iter(requests), **settings)
        elif kind.response_streams:
            (request,) = requests
            call = self._channel.unary_stream(path, *messages)(request, **settings)
        else:
            (request,) = requests
            call = self._channel.unary_unary(path, *messages).future(request, **settings)
        return Call(path, call, kind.request_streams or kind.response_streams)

    def call(self, name: str, *requests: Any, **settings: Any) -> tuple[CallRecord, list[Any]]:
        """Makes a whole call; gives its record and its response messages. Takes what `start` takes."""
        call = self.start(name, requests, **settings)
        record = call.finish()
        return record, [one.message for one in call.received]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()


def _size_bytes(message: Any) -> int:
    return len(message.payload.body) if hasattr(message, "payload") else 0


def _plain(metadata: Any) -> Metadata:
    return tuple((key, value) for key, value in metadata or ())
