"""The web front: a page that lists the emoji, takes votes and shows the leaderboard.

It keeps one gRPC channel to each service for as long as it runs, as ordinary applications do, and never
repeats a call. What it measures of its votes per pod is at /stats. The leaderboard is kept here, in memory.

    GET  /                       the page
    GET  /api/emoji              [[shortcode, emoji], ...]
    POST /api/vote?choice=:cat:  one vote; 200, or 502 with what went wrong
    GET  /api/leaderboard        [[shortcode, emoji, votes], ...], most votes first
    GET  /stats                  what was measured (see call_stats.py)
    GET  /live                   200
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from time import perf_counter

import emojivoto_pb2 as pb
import emojivoto_pb2_grpc as services
import grpc
from call_stats import CallStats, Outcome
from http_server import HttpServer, Request, Response
from serving import stop_signal
from settings import Options
from voting import FAILING_SHORTCODE, FAILING_STATUS

log = logging.getLogger("web")

CHANNEL_OPTIONS = (
    # A failed call must show as one: nothing is repeated behind the application's back.
    ("grpc.enable_retries", 0),
    # The services are neighbours; an http_proxy of the machine is not for them.
    ("grpc.enable_http_proxy", 0),
)


class WebFront:
    """The pages, and the calls behind them."""

    def __init__(self, emoji: grpc.aio.Channel, voting: grpc.aio.Channel, timeout_s: float) -> None:
        self._emoji = services.EmojiServiceStub(emoji)
        self._voting = services.VotingServiceStub(voting)
        self._timeout_s = timeout_s
        self._stats = CallStats()
        self._votes: Counter[tuple[str, str]] = Counter()
        self._page = Path(__file__).with_name("page.html").read_bytes()

    async def respond(self, request: Request) -> Response:
        """Answer one HTTP request."""
        match request.method, request.path:
            case "GET", "/":
                return Response(self._page, content_type="text/html; charset=utf-8")
            case "GET", "/api/emoji":
                return await self._list()
            case "POST", "/api/vote":
                return await self._vote(request.query.get("choice", ""))
            case "GET", "/api/leaderboard":
                return Response.of_json([[*emoji, votes] for emoji, votes in self._votes.most_common()])
            case "GET", "/stats":
                return Response.of_json(self._stats.snapshot())
            case "GET", "/live":
                return Response(b"live\n")
            case _:
                return Response(b"no such page\n", HTTPStatus.NOT_FOUND)

    async def _list(self) -> Response:
        try:
            listed = await self._emoji.ListAll(pb.ListAllRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return self._failed(error)
        return Response.of_json([[emoji.shortcode, emoji.unicode] for emoji in listed.emoji])

    async def _vote(self, shortcode: str) -> Response:
        try:
            found = await self._emoji.FindByShortcode(
                pb.FindByShortcodeRequest(shortcode=shortcode), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return Response.of_json({"error": error.details()}, HTTPStatus.NOT_FOUND)
            return self._failed(error)
        began_s = perf_counter()
        call = self._voting.Vote(pb.VoteRequest(shortcode=shortcode), timeout=self._timeout_s)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            took_s = perf_counter() - began_s
            pod = _pod(error.initial_metadata())
            if shortcode == FAILING_SHORTCODE and error.code() is FAILING_STATUS and pod:
                self._stats.record(pod, Outcome.REFUSED, took_s)
                return Response.of_json({"error": error.details(), "intended": True}, HTTPStatus.BAD_GATEWAY)
            self._stats.record(pod, Outcome.FAILED, took_s)
            return self._failed(error)
        self._stats.record(_pod(await call.initial_metadata()), Outcome.ACCEPTED, perf_counter() - began_s)
        self._votes[shortcode, found.emoji.unicode] += 1
        return Response.of_json({"voted": shortcode})

    def _failed(self, error: grpc.aio.AioRpcError) -> Response:
        text = f"{error.code().name}: {error.details()}"
        log.warning("call failed: %s", text)
        self._stats.record_failure(text)
        return Response.of_json({"error": text, "intended": False}, HTTPStatus.BAD_GATEWAY)


def _pod(metadata: grpc.aio.Metadata) -> str:
    name = metadata.get("pod", "")
    return name if isinstance(name, str) else name.decode()


async def main() -> None:
    """Serve until SIGTERM."""
    options = Options("Web front of the demo: HTTP in, gRPC out.")
    options.add_listening(8080)
    options.add("emoji-address", "127.0.0.1:8081", "host:port of the emoji service")
    options.add("voting-address", "127.0.0.1:8082", "host:port of the voting service")
    options.add("timeout-s", 5.0, "seconds that a gRPC call may take")
    options.add("grace-s", 5.0, "seconds that running requests have to finish after SIGTERM")
    args = options.parse()
    stopped = stop_signal()
    async with (
        grpc.aio.insecure_channel(args.emoji_address, CHANNEL_OPTIONS) as emoji,
        grpc.aio.insecure_channel(args.voting_address, CHANNEL_OPTIONS) as voting,
    ):
        server = HttpServer(WebFront(emoji, voting, args.timeout_s).respond)
        await server.start(args.host, args.port)
        log.info("listening on %s:%d", args.host, args.port)
        await stopped.wait()
        await server.stop(args.grace_s)


if __name__ == "__main__":
    asyncio.run(main())
