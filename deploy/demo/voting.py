"""The voting service: accepts votes, except those for :doughnut:, which fail on purpose.

Each answer names its pod in the initial metadata `pod`, so that a client can tell where its calls went.
SIGUSR1 makes the pod slow, SIGUSR2 normal again. Votes are not stored here: the web front counts what
was accepted, because a count kept in one pod of several would be a part of the truth.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import emojivoto_pb2 as pb
import emojivoto_pb2_grpc as services
import grpc
from serving import SERVER_OPTIONS, serve_until_stopped
from settings import Options

log = logging.getLogger("voting")

FAILING_SHORTCODE = ":doughnut:"
# A refusal of this one vote. INTERNAL or UNAVAILABLE would say that the pod is broken, and a balancer is
# right to prefer other pods to one that says so.
FAILING_STATUS = grpc.StatusCode.FAILED_PRECONDITION


class Voting(services.VotingServiceServicer):
    """One pod of the voting service."""

    def __init__(self, pod: str, delay_s: float) -> None:
        self._metadata = (("pod", pod),)
        self._delay_s = delay_s

    def delay(self, delay_s: float) -> None:
        """From now on, wait `delay_s` seconds before each answer."""
        log.info("each answer now takes %.0f ms longer", delay_s * 1000)
        self._delay_s = delay_s

    async def Vote(  # noqa: N802 (the name is the method's in the .proto)
        self, request: pb.VoteRequest, call: grpc.aio.ServicerContext
    ) -> pb.VoteResponse:
        """Accept the vote, or fail it when it is for FAILING_SHORTCODE."""
        await call.send_initial_metadata(self._metadata)
        if self._delay_s > 0:
            await asyncio.sleep(self._delay_s)
        if request.shortcode == FAILING_SHORTCODE:
            await call.abort(FAILING_STATUS, f"votes for {FAILING_SHORTCODE} fail, on purpose")
        return pb.VoteResponse()


async def main() -> None:
    """Serve until SIGTERM."""
    options = Options("Voting service of the demo (gRPC). SIGUSR1 makes it slow, SIGUSR2 normal again.")
    options.add_listening(8080)
    options.add("pod-name", os.uname().nodename, "the name this pod goes by")
    options.add("delay-ms", 0.0, "milliseconds to wait before each answer, from the start")
    options.add("slow-ms", 50.0, "milliseconds to wait before each answer, after SIGUSR1")
    options.add("grace-s", 5.0, "seconds that running calls have to finish after SIGTERM")
    args = options.parse()
    voting = Voting(args.pod_name, args.delay_ms / 1000)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, voting.delay, args.slow_ms / 1000)
    loop.add_signal_handler(signal.SIGUSR2, voting.delay, args.delay_ms / 1000)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    services.add_VotingServiceServicer_to_server(voting, server)
    await serve_until_stopped(server, args.host, args.port, args.grace_s)


if __name__ == "__main__":
    asyncio.run(main())
