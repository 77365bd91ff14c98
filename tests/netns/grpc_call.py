"""One gRPC call from a pod, by grpcio, and what became of it.

    python -m tests.netns.grpc_call HOST:PORT METHOD REQUEST TIMEOUT_S [NAME=VALUE ...]

METHOD is one of the echo service's; NAME=VALUE are metadata. Writes JSON: `code`, `details`, the proxy's `flag` ("" if
the status is not its own), how many `messages` came, and `took_s`. A Chat sends the request and then nothing more.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator

import grpc

from tests.support.echo_server import SERVICE


def main(target: str, method: str, request: str, timeout_s: str, *fields: str) -> None:
    metadata = [tuple(field.split("=", 1)) for field in fields]
    over = threading.Event()

    def requests() -> Iterator[bytes]:
        yield request.encode()
        over.wait()

    begun_s = time.monotonic()
    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        if method == "Chat":
            call = channel.stream_stream(f"/{SERVICE}/Chat")(requests(), timeout=float(timeout_s), metadata=metadata)
        else:
            sending = channel.unary_stream(f"/{SERVICE}/{method}")
            call = sending(request.encode(), timeout=float(timeout_s), metadata=metadata)
        messages = 0
        try:
            for _ in call:
                messages += 1
                print(json.dumps({"messages": messages}), flush=True)
        except grpc.RpcError:
            pass
        over.set()
        flag = str(dict(call.trailing_metadata() or ()).get("x-mesh-error", ""))
        told = {"code": call.code().name, "details": call.details(), "flag": flag, "messages": messages}
        print(json.dumps({**told, "took_s": time.monotonic() - begun_s}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
