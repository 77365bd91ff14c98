"""Whether the pod's application accepts TCP connections, for the kubelet.

Its own `tcpSocket` probe cannot know: the sidecar accepts what is redirected, whether the application is there or not.
Injection therefore has it ask here. Must not become a way to look for open ports: which ports are asked for is the
configuration's to say (`admin.probe_ports`), and the address is always the one that the question came to.
"""

import asyncio
from http import HTTPStatus

from proxy.admin.connection import Response, refusal

CONNECT_WITHIN_S = 1.0


async def probe(host: str, port: int) -> Response:
    """200 when something at `host` accepts a connection, which is closed at once; else 503 and why not."""
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
    except TimeoutError:
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"port {port}: no connection within {CONNECT_WITHIN_S:g} s")
    except ConnectionRefusedError:
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"port {port}: connection refused")
    except OSError as error:
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"port {port}: {error.strerror or error}")
    to_itself = transport.get_extra_info("sockname") == transport.get_extra_info("peername")
    transport.abort()
    if to_itself:
        # The system gave the probe the very port that it asks for (RFC 9293, section 3.5): nobody listens there.
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"port {port}: connection refused")
    return Response(HTTPStatus.OK, [f"port {port} accepts connections\n"])
