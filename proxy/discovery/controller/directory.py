"""Keeps one stream to a controller: the names that are followed go out, answers come in.

Controllers are alike and know nothing of their sidecars, so any will do: when the stream ends the next one begins
with all the names, wherever the address leads by then, and until it is answered everything stays as it was. grpclib
keeps this small; its connection is not intercepted, as the proxy's user is left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from grpclib.client import Channel, Stream
from grpclib.config import Configuration
from grpclib.const import Cardinality

from proxy.config import DiscoveryConfig
from proxy.discovery.controller.eds_pb2 import DiscoveryRequest, DiscoveryResponse
from proxy.discovery.controller.messages import INVALID_ARGUMENT, METHOD, UnusableResponseError, answers, first_request
from proxy.discovery.directory import Tell
from proxy.version import VERSION

log = logging.getLogger("meshctl")

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0  # a controller that leaves a name unanswered for longer is left
PING_EVERY_S: Final = 20.0
PING_ANSWER_S: Final = 10.0
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 10.0
SETTLE_S: Final = 0.002  # names that are called within this time go out in one request
SETTLE_NAME_S: Final = 0.00001  # and somewhat later for each name, since a request has them all
LONGEST_MESSAGE_BYTES: Final = 16 * 2**20  # some 25,000 endpoints of one name
WINDOW_BYTES: Final = 2**20  # what a controller may have on its way to us: one response and more


class ControllerDirectory:
    """See `proxy.discovery.directory.Directory`."""

    def __init__(
        self,
        config: DiscoveryConfig,
        zone: str,
        tell: Tell,
        *,
        answer_s: float = ANSWER_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        assert config.controller is not None
        self._address = config.controller
        self._hello = first_request(config.pod or "", config.namespace or "", zone, VERSION)
        self._tell = tell
        self._answer_s = answer_s
        self._sleep = sleep
        self._rand = rand
        self._wanted = _Wanted()
        self._wait_s = FIRST_WAIT_S
        self._complained = False
        self.connected = False

    def follow(self, name: str) -> None:
        self._wanted.add(name)

    def forget(self, name: str) -> None:
        self._wanted.remove(name)

    async def run(self) -> None:
        while True:
            try:
                await self._converse()
            except Exception as error:
                self._complain(error)
            finally:
                self.connected = False
            # Many sidecars lose the same controller at once: they are not to come back at once.
            await self._sleep(self._wait_s * (0.5 + self._rand()))
            self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S)

    def _complain(self, error: BaseException) -> None:
        """Once for each time that it is lost, however often it is tried again."""
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        log.log(level, "controller %s: %s; endpoints stay as they are", self._address, error or type(error).__name__)

    async def _converse(self) -> None:
        """One stream on a connection of its own, until it ends. Raises whatever ends it."""
        channel = Channel(self._address.host, self._address.port, config=_configuration())
        try:
            async with channel.request(
                METHOD, Cardinality.STREAM_STREAM, DiscoveryRequest, DiscoveryResponse
            ) as stream:
                async with asyncio.timeout(CONNECT_S):
                    await stream.send_request()
                _bound_messages(stream)
                self.connected = True
                conversation = _Conversation(stream, self._hello, self._wanted)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(conversation.speak())
                        tasks.create_task(conversation.listen(self._told))
                        tasks.create_task(self._wanted.see_answered(self._answer_s))
                except ExceptionGroup as errors:
                    raise errors.exceptions[0] from None  # grpclib puts the status there, if one came
        finally:
            channel.close()

    def _told(self, response: DiscoveryResponse) -> None:
        """Hands on what a response says of names that are still followed."""
        said = list(answers(response))
        if self._complained:
            log.info("controller %s answers", self._address)
        self._wait_s, self._complained = FIRST_WAIT_S, False
        for name, answer in said:
            if name in self._wanted.names:
                self._wanted.unanswered.pop(name, None)
                self._tell(name, answer)


class _Wanted:
    """The names that are followed, and what of that the controller has not heard yet."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.left: set[str] = set()  # since the last request
        self.unanswered: dict[str, float] = {}  # since when, on this stream, oldest first
        self.changed = asyncio.Event()

    def add(self, name: str) -> None:
        if name not in self.names:
            self.names[name] = None
            self.unanswered[name] = asyncio.get_running_loop().time()
            self.changed.set()

    def remove(self, name: str) -> None:
        if name in self.names:
            del self.names[name]
            self.unanswered.pop(name, None)
            self.left.add(name)
            self.changed.set()

    def begin(self) -> None:
        """On a new stream nothing has been said yet."""
        now_s = asyncio.get_running_loop().time()
        self.unanswered = dict.fromkeys(self.names, now_s)
        self.left.clear()
        self.changed.set()

    async def see_answered(self, within_s: float) -> None:
        """Raises TimeoutError when a name was not answered in time."""
        loop = asyncio.get_running_loop()
        while True:
            oldest_s = next(iter(self.unanswered.values()), loop.time())
            if loop.time() - oldest_s >= within_s:
                raise TimeoutError(f"it did not answer for {within_s:g} s")
            await asyncio.sleep(within_s / 4)


class _Conversation:
    """What is said on one stream: the version and nonce that were heard last, and whether a word is due."""

    def __init__(
        self,
        stream: Stream[DiscoveryRequest, DiscoveryResponse],
        hello: DiscoveryRequest,
        wanted: _Wanted,
    ) -> None:
        self._stream = stream
        self._next = DiscoveryRequest()
        self._next.CopyFrom(hello)
        self._wanted = wanted
        wanted.begin()

    async def speak(self) -> None:
        """Says which names are wanted, first of all and at each change; that also acknowledges what was heard."""
        wanted = self._wanted
        while True:
            await wanted.changed.wait()
            await asyncio.sleep(SETTLE_S + SETTLE_NAME_S * len(wanted.names))
            wanted.changed.clear()
            # A name is answered when it is new: one that was given up and is wanted again has to be left out once.
            again = wanted.left & wanted.names.keys()
            wanted.left.clear()
            if again:
                await self._say([name for name in wanted.names if name not in again])
            await self._say(wanted.names)

    async def _say(self, names: Iterable[str]) -> None:
        request = self._next
        # Only a stream's first request says who asks, and a response is refused once.
        self._next = DiscoveryRequest(
            type_url=request.type_url, version_info=request.version_info, response_nonce=request.response_nonce
        )
        request.resource_names.extend(names)
        await self._stream.send_message(request)

    async def listen(self, told: Callable[[DiscoveryResponse], None]) -> None:
        """Hears responses until there are no more; that, too, is an error here."""
        async for response in self._stream:
            self._next.response_nonce = response.nonce
            try:
                told(response)
            except UnusableResponseError as error:
                log.warning("the controller sent %s; it is refused", error)
                self._next.error_detail.code = INVALID_ARGUMENT
                self._next.error_detail.message = str(error)
            else:
                self._next.version_info = response.version_info
            self._wanted.changed.set()
        await self._stream.recv_trailing_metadata()  # raises what the status says, unless it is OK
        raise ConnectionResetError("it ended the stream")


def _bound_messages(stream: Stream[DiscoveryRequest, DiscoveryResponse]) -> None:
    """Have reading raise when a message is announced that is too long: grpclib would gather up to 4 GiB of it."""
    wire: Any = stream._stream  # there is no other way to its parts
    receive = wire.recv_data

    async def receive_bounded(size: int) -> bytes:
        if size > LONGEST_MESSAGE_BYTES:
            raise UnusableResponseError(f"it sends a message of {size} bytes")
        return bytes(await receive(size))

    wire.recv_data = receive_bounded


def _configuration() -> Configuration:
    return Configuration(
        _keepalive_time=PING_EVERY_S,
        _keepalive_timeout=PING_ANSWER_S,
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=PING_EVERY_S / 2,
        http2_connection_window_size=WINDOW_BYTES,
        http2_stream_window_size=WINDOW_BYTES,
    )
