"""The admin pages over HTTP/1.1, on loopback: /metrics, /live, /ready, /endpoints, /config, POST /shutdown.

A strict, tiny reader of requests on asyncio streams: a web framework would cost every sidecar more memory than all of
its calls. One request a connection, bounded in size and time. Knows `AdminSource` and nothing of how the proxy is wired.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from proxy.admin.exposition import Exposition
from proxy.admin.source import AdminSource, Endpoint

REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
PAUSE_EVERY_BYTES = 64 * 1024  # of a scrape's text: calls run in between

PAGES = """meshctl proxy
  GET  /metrics    Prometheus metrics
  GET  /live       200 while the process runs
  GET  /ready      200 when calls are welcome, else 503 and why
  GET  /endpoints  clusters and their endpoints, JSON
  GET  /config     the configuration in force, JSON
  POST /shutdown   drain and exit, as SIGTERM does
"""


class BadRequest(Exception):
    """The request cannot be read; the argument says why."""


class AdminServer:
    """`start`, then `stop`. `address` says where it listens."""

    def __init__(self, source: AdminSource, exposition: Exposition) -> None:
        self._source = source
        self._exposition = exposition
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES)

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Close the listener and whatever is still being answered."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._answer(head, writer)
        except asyncio.LimitOverrunError:
            _write(writer, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is over 16 KiB\n")
        except BadRequest as error:
            _write(writer, HTTPStatus.BAD_REQUEST, f"{error}\n")
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            pass  # it left, or is too slow: nobody to answer
        finally:
            self._open.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        method, path, headers = parse(head)
        if path == "/metrics" and method in ("GET", "HEAD"):
            await self._metrics(headers.get("accept", ""), writer)
            return
        status, kind, body = self._page(method, path)
        _write(writer, status, body, kind)
        await writer.drain()

    def _page(self, method: str, path: str) -> tuple[HTTPStatus, str, str]:
        plain, as_json = "text/plain; charset=utf-8", "application/json"
        if path == "/shutdown":
            if method != "POST":
                return HTTPStatus.METHOD_NOT_ALLOWED, plain, "POST /shutdown\n"
            self._source.shutdown()
            return HTTPStatus.OK, plain, "draining\n"
        if path not in ("/", "/live", "/ready", "/endpoints", "/config", "/metrics"):
            return HTTPStatus.NOT_FOUND, plain, f"no such page; there are:\n{PAGES}"
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, plain, f"GET {path}\n"
        if path == "/ready":
            ready, why = self._source.ready()
            return (HTTPStatus.OK, plain, "ready\n") if ready else (HTTPStatus.SERVICE_UNAVAILABLE, plain, why + "\n")
        if path == "/endpoints":
            return HTTPStatus.OK, as_json, json.dumps(self._endpoints(), indent=2) + "\n"
        if path == "/config":
            return HTTPStatus.OK, as_json, json.dumps(self._source.config(), indent=2) + "\n"
        return HTTPStatus.OK, plain, "live\n" if path == "/live" else PAGES

    def _endpoints(self) -> dict[str, Any]:
        plane = self._source.plane
        return {
            name: {
                "balancer": cluster.balancer,
                "pending": cluster.pending,
                "failfast": cluster.failfast,
                "endpoints": [_endpoint(endpoint) for endpoint in cluster.endpoints],
            }
            for name, cluster in plane.clusters.items()
        }

    async def _metrics(self, accept: str, writer: asyncio.StreamWriter) -> None:
        scrape = self._exposition.scrape(accept)
        writer.write(_head(HTTPStatus.OK, scrape.content_type, None))
        for piece in _pieces(scrape.text):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)


def _pieces(text: Iterator[str]) -> Iterator[bytes]:
    gathered: list[str] = []
    size = 0
    for part in text:
        gathered.append(part)
        size += len(part)
        if size >= PAUSE_EVERY_BYTES:
            yield "".join(gathered).encode()
            gathered, size = [], 0
    yield "".join(gathered).encode()


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "address": endpoint.address,
        "pod": endpoint.pod,
        "weight": endpoint.weight,
        "state": endpoint.state,
        "ewma_ms": round(endpoint.ewma_s * 1000, 3),
        "in_flight": endpoint.in_flight,
        "connections": endpoint.connections,
        "connect_failures": endpoint.connect_failures,
        "calls": endpoint.calls,
        "failures": endpoint.failures,
    }


def parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """(method, path without its query, headers by lower-case name) of a request head. Raises BadRequest."""
    try:
        lines = head.decode("ascii").split("\r\n")[:-2]
    except UnicodeDecodeError:
        raise BadRequest("the request is not ASCII") from None
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise BadRequest("not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise BadRequest("a malformed header line")
        headers[name.lower()] = value.strip()
    return words[0], words[1].partition("?")[0], headers


def _head(status: HTTPStatus, kind: str, length: int | None) -> bytes:
    size = "" if length is None else f"content-length: {length}\r\n"
    return f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {kind}\r\n{size}connection: close\r\n\r\n".encode()


def _write(
    writer: asyncio.StreamWriter, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8"
) -> None:
    body = text.encode()
    writer.write(_head(status, kind, len(body)) + body)
