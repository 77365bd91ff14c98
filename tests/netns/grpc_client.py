"""A gRPC client in a pod: a grpcio channel without any proxy setting.

    python -m tests.netns.grpc_client HOST:PORT CALLS [AUTHORITY] [CERTIFICATE]

Makes so many unary calls on one channel, then one call of each other kind, and writes JSON: `servers`, the answers by
server; `kinds`, what the other calls gave. AUTHORITY, unless "" or left out, is what the calls name instead of
HOST:PORT. CERTIFICATE is the file that a TLS channel trusts; without it the channel is in the clear.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

from tests.support.echo import server_of
from tests.support.echo_server import SERVICE

TIMEOUT_S = 30


def channel(target: str, authority: str, certificate: str) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0)]
    if authority:
        options.append(("grpc.default_authority", authority))
    if certificate:
        trusted = grpc.ssl_channel_credentials(Path(certificate).read_bytes())
        return grpc.secure_channel(target, trusted, options)
    return grpc.insecure_channel(target, options)


def main(target: str, calls: str, authority: str = "", certificate: str = "") -> None:
    servers: Counter[str] = Counter()
    with channel(target, authority, certificate) as connected:

        def method(kind: str, name: str) -> Any:
            return getattr(connected, kind)(f"/{SERVICE}/{name}")

        unary = method("unary_unary", "Unary")
        for number in range(int(calls)):
            request = b"call %d" % number
            response, call = unary.with_call(request, timeout=TIMEOUT_S)
            assert response == request
            servers[server_of(call)] += 1
        requests = [b"one", b"two", b"three"]
        collected = method("stream_unary", "Collect")(iter(requests), timeout=TIMEOUT_S)
        expanded = method("unary_stream", "Expand")(b"3 1000", timeout=TIMEOUT_S)
        chatted = method("stream_stream", "Chat")(iter(requests), timeout=TIMEOUT_S)
        kinds = {
            "collect": collected.decode(),
            "expand": [len(message) for message in expanded],
            "chat": [message.decode() for message in chatted],
        }
    print(json.dumps({"servers": servers, "kinds": kinds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
