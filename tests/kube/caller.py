"""What runs in a pod that calls: `caller.py ADDRESS EVERY_S`, one vote after another, a line for each.

    TIME POD    when the call began, by the machine's clock, and which pod answered; "-" and why if the call failed

The text of this file is the program's; the pod has the demo's files beside it.
"""

import asyncio
import sys
import time

import emojivoto_pb2 as pb
import emojivoto_pb2_grpc as services
import grpc


async def main(address: str, every_s: float) -> None:
    """Calls until it is killed."""
    async with grpc.aio.insecure_channel(address, (("grpc.enable_retries", 0),)) as channel:
        stub = services.VotingServiceStub(channel)
        while True:
            began_s = time.time()
            call = stub.Vote(pb.VoteRequest(shortcode=":joy:"), timeout=60)
            try:
                await call
                pod = dict(await call.initial_metadata())["pod"]
            except grpc.aio.AioRpcError as error:
                pod = f"- {error.code().name} {error.details()}"
            print(f"{began_s:.6f} {pod}", flush=True)
            await asyncio.sleep(every_s)


asyncio.run(main(sys.argv[1], float(sys.argv[2])))
