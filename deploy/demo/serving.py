"""The life of a gRPC server of the demo: listen, serve, and stop as Kubernetes asks.

It answers gRPC's health check (grpc.health.v1.Health/Check), for the kubelet: a probe of the port alone would find a
sidecar, which listens before its application does. On SIGTERM the server says GOAWAY, takes no new connection, finishes
the calls it has, and the program ends with status 0. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import logging
import signal

import grpc

log = logging.getLogger("serving")

# Two servers on one port would share its connections without a word; a port in use must be an error.
SERVER_OPTIONS = (("grpc.so_reuseport", 0),)


# HealthCheckResponse{status: SERVING}: two bytes are not worth a dependency.
SERVING = b"\x08\x01"


async def _check(_request: bytes, _call: grpc.aio.ServicerContext) -> bytes:
    return SERVING


HEALTH = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(_check)}
)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


async def serve_until_stopped(server: grpc.aio.Server, host: str, port: int, grace_s: float) -> None:
    """Serve on host:port until SIGTERM or SIGINT, then let running calls finish within `grace_s` seconds.

    Raises RuntimeError when the port cannot be bound.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    stopped = stop_signal()
    server.add_generic_rpc_handlers((HEALTH,))
    server.add_insecure_port(address)
    await server.start()
    log.info("listening on %s", address)
    await stopped.wait()
    log.info("stopping")
    await server.stop(grace_s)
