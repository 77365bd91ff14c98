"""The stream to a controller, from the sidecar's end: a scripted server on real gRPC says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from proxy.address import NamedAddress
from proxy.config import DiscoveryConfig
from proxy.discovery.controller.directory import LONGEST_MESSAGE_BYTES, ControllerDirectory
from proxy.discovery.controller.eds_pb2 import DiscoveryRequest, DiscoveryResponse
from proxy.discovery.directory import Answer
from tests.support.ports import free_port
from tests.unit.controller.test_messages import assignment, response

SERVICE = "envoy.service.endpoint.v3.EndpointDiscoveryService"
WITHIN_S = 30.0

pytestmark = pytest.mark.asyncio


class Controller:
    """What it was sent on each stream, and a queue of what it sends: responses, or a status to end with."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[list[DiscoveryRequest]] = []
        self.to_say: asyncio.Queue[DiscoveryResponse | grpc.StatusCode] = asyncio.Queue()
        self._server: Any = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        method = grpc.stream_stream_rpc_method_handler(
            self._serve, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"StreamEndpoints": method}),)
        )
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _serve(self, requests: AsyncIterator[DiscoveryRequest], context: Any) -> None:
        heard: list[DiscoveryRequest] = []
        self.requests.append(heard)

        async def hear() -> None:
            async for request in requests:
                heard.append(request)  # noqa: PERF401 - one by one, as they come

        hearing = asyncio.create_task(hear())
        try:
            while True:
                item = await self.to_say.get()
                if isinstance(item, grpc.StatusCode):
                    await context.abort(item, "as the test says")
                await context.write(item)
        finally:
            hearing.cancel()

    @property
    def last(self) -> DiscoveryRequest:
        """The last request of the newest stream; an empty one if there is none."""
        return self.requests[-1][-1] if self.requests and self.requests[-1] else DiscoveryRequest()


class World:
    """A controller, a directory that asks it, and what the directory told."""

    def __init__(self, answer_s: float) -> None:
        self.controller = Controller()
        self.told: list[tuple[str, Answer | None]] = []
        config = DiscoveryConfig(
            mode="controller",
            controller=NamedAddress("127.0.0.1", self.controller.port),
            pod="web-1",
            namespace="shop",
        )
        self.waits: list[float] = []
        self.directory = ControllerDirectory(
            config,
            "eu-1a",
            lambda name, answer: self.told.append((name, answer)),
            answer_s=answer_s,
            sleep=self._sleep,
            rand=lambda: 0.5,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():  # noqa: ASYNC110 - what is waited for is no event
                await asyncio.sleep(0.005)

    def said(self, name: str, answer: Answer | None) -> bool:
        return (name, answer) in self.told


@contextlib.asynccontextmanager
async def running(*, listening: bool = True, answer_s: float = 60) -> AsyncIterator[World]:
    world = World(answer_s)
    if listening:
        await world.controller.start()
    task = asyncio.create_task(world.directory.run())
    try:
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if world.controller._server is not None:
            await world.controller.stop()


def found(host: str = "10.0.0.1") -> Answer:
    from proxy.discovery import EndpointAddress

    return Answer((EndpointAddress(host, 8080, 1, "voting-1"),))


async def test_names_go_out_and_answers_are_acknowledged() -> None:
    async with running() as world:
        world.directory.follow("voting:8080")
        await world.until(lambda: list(world.controller.last.resource_names) == ["voting:8080"])
        first = world.controller.requests[0][0]
        assert (first.node.id, first.node.locality.zone, first.response_nonce) == ("web-1.shop", "eu-1a", "")
        made = response(assignment())
        made.version_info, made.nonce = "7", "n1"
        await world.controller.to_say.put(made)
        await world.until(lambda: world.controller.last.response_nonce == "n1")
        last = world.controller.last
        assert (last.version_info, last.node.id, last.HasField("error_detail")) == ("7", "", False)
        assert world.told == [("voting:8080", found())]


async def test_names_are_added_and_taken_back() -> None:
    async with running() as world:
        for name in ("a:1", "b:1", "a:1"):
            world.directory.follow(name)
        await world.until(lambda: list(world.controller.last.resource_names) == ["a:1", "b:1"])
        world.directory.forget("a:1")
        world.directory.forget("never:1")
        await world.until(lambda: list(world.controller.last.resource_names) == ["b:1"])
        gone = response(assignment())
        await world.controller.to_say.put(gone)
        missing = DiscoveryResponse(nonce="n2")
        missing.resource_errors.add(resource_name={"name": "b:1"}, error_detail={"code": 5})
        await world.controller.to_say.put(missing)
        await world.until(lambda: world.told)
        assert world.told == [("b:1", None)], "voting:8080 was not asked for"


async def test_a_name_that_is_wanted_again_at_once_is_asked_for_anew() -> None:
    async with running() as world:
        for name in ("a:1", "b:1"):
            world.directory.follow(name)
        await world.until(lambda: list(world.controller.last.resource_names) == ["a:1", "b:1"])
        world.directory.forget("a:1")
        world.directory.follow("a:1")
        await world.until(lambda: list(world.controller.last.resource_names) == ["b:1", "a:1"])
        assert [list(request.resource_names) for request in world.controller.requests[0]][-2:] == [
            ["b:1"],
            ["b:1", "a:1"],
        ]


async def test_a_response_that_cannot_be_used_is_refused_and_the_stream_goes_on() -> None:
    async with running() as world:
        world.directory.follow("voting:8080")
        good = response(assignment())
        good.version_info, good.nonce = "1", "n1"
        bad = response(assignment("no-address"))
        bad.version_info, bad.nonce = "2", "n2"
        await world.controller.to_say.put(good)
        await world.controller.to_say.put(bad)
        await world.until(lambda: world.controller.last.response_nonce == "n2")
        refusal = world.controller.last
        assert refusal.version_info == "1" and "no-address" in refusal.error_detail.message
        world.directory.follow("other:1")
        await world.until(lambda: len(world.controller.last.resource_names) == 2)
        assert not world.controller.last.HasField("error_detail"), "refused once"
        assert len(world.controller.requests) == 1


async def test_when_a_stream_ends_the_next_one_asks_for_everything_again(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as world:
        world.directory.follow("voting:8080")
        await world.controller.to_say.put(response(assignment()))
        await world.until(lambda: world.told)
        await world.controller.to_say.put(grpc.StatusCode.UNAVAILABLE)
        await world.until(lambda: len(world.controller.requests) == 2 and world.controller.requests[1])
        again = world.controller.requests[1][0]
        assert (again.node.id, list(again.resource_names), again.response_nonce) == ("web-1.shop", ["voting:8080"], "")
        await world.controller.to_say.put(response(assignment("10.0.0.2")))
        await world.until(lambda: world.said("voting:8080", found("10.0.0.2")))
    assert "as the test says" in caplog.text


async def test_it_waits_longer_each_time_and_complains_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running(listening=False) as world:
        world.directory.follow("voting:8080")
        await world.until(lambda: len(world.waits) == 9)
        assert world.waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
        assert not world.directory.connected
        await world.controller.start()
        await world.controller.to_say.put(response(assignment()))
        await world.until(lambda: world.told)
        assert world.directory.connected
        await world.controller.to_say.put(grpc.StatusCode.INTERNAL)
        await world.until(lambda: len(world.controller.requests) == 2)
        assert world.waits[-1] == 0.1, "after an answer it begins anew"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2


async def test_something_that_is_no_controller() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        await writer.drain()
        writer.close()

    async with running(listening=False) as world:
        server = await asyncio.start_server(answer, "127.0.0.1", world.controller.port)
        async with server:
            await world.until(lambda: len(world.waits) >= 12)
        assert not world.told


async def test_a_controller_that_does_not_answer_is_left_for_another() -> None:
    async with running(answer_s=0.2) as world:
        await asyncio.sleep(0.4)
        assert len(world.controller.requests) == 1, "nothing was asked"
        world.directory.follow("voting:8080")
        await world.until(lambda: len(world.controller.requests) >= 3)
        while not world.told:  # a stream may be left just as it is answered
            await world.controller.to_say.put(response(assignment()))
            await asyncio.sleep(0.05)
        streams = len(world.controller.requests)
        await asyncio.sleep(0.4)
        assert len(world.controller.requests) == streams


async def test_many_names_are_said_seldom() -> None:
    async with running() as world:
        for number in range(5000):
            world.directory.follow(f"host-{number}")
        await world.until(lambda: len(world.controller.last.resource_names) == 5000)
        loop = asyncio.get_running_loop()
        began_s, before = loop.time(), len(world.controller.requests[-1])
        for number in range(100):
            world.directory.follow(f"other-{number}")
            await asyncio.sleep(0.005)
        await world.until(lambda: len(world.controller.last.resource_names) == 5100)
        assert len(world.controller.requests[-1]) - before <= (loop.time() - began_s) / 0.05 + 1


async def test_a_message_that_is_far_too_long_is_not_read() -> None:
    async with running() as world:
        world.directory.follow("voting:8080")
        await world.until(lambda: world.controller.last.resource_names)
        world.controller.to_say.put_nowait(DiscoveryResponse(nonce="x" * (LONGEST_MESSAGE_BYTES + 1)))
        await world.until(lambda: len(world.controller.requests) == 2 and world.controller.last.resource_names)
        world.controller.to_say.put_nowait(response(assignment()))
        await world.until(lambda: world.told)
