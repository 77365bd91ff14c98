"""The one module that talks to the Kubernetes API server: lists, watches, single objects, all as plain JSON.

Owns authentication (the pod's service account, whose token is read again every minute, or a kubeconfig), time limits,
and what can go wrong, as errors of its own:

    RefusedError      the server refused: `status` and why; `retry_after_s` if it said so
      GoneError       410, as a status or within a stream: this version is forgotten, list again
    UnreachableError  no answer, or a connection that broke or fell silent
    GarbledError      an answer that is not what the API promises

Time limits: a connection that is dead without a word (its other end vanished) is found by TCP keepalive in half a
minute; one that is silent because something in between forgot it, by the end that the watch was given.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from proxy.config import KubernetesConfig
from proxy.discovery.kubernetes import client

ANSWER_S: Final = 30.0
PAGE_ITEMS: Final = 500
LONGEST_LINE_BYTES: Final = 16 * 2**20  # etcd's own limit for an object is 1.5 MiB
SILENCE_S: Final = 15.0  # how much later than asked for a watch may end
KEEPALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

Json = Mapping[str, Any]


class ApiError(Exception):
    """Why there was no good answer."""


class RefusedError(ApiError):
    """The API server refused."""

    def __init__(self, status: int, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status
        self.retry_after_s = retry_after_s


class GoneError(RefusedError):
    """410: the version that was asked for is forgotten."""


class UnreachableError(ApiError):
    """The API server does not answer."""


class GarbledError(ApiError):
    """What came is not the Kubernetes API."""


class ApiServer:
    """A connection pool to one API server; it authenticates when it is first used, and anew after a 401."""

    def __init__(self, config: KubernetesConfig) -> None:
        self._config = config
        self._lock = asyncio.Lock()
        self._opened: tuple[Any, Any] | None = None
        self._refused_us = False

    async def close(self) -> None:
        """Closes the connections; what still waits on one of them ends with UnreachableError."""
        opened, self._opened, self._refused_us = self._opened, None, False
        if opened is not None:
            await opened[1].close()

    async def list_all(self, path: str, selector: Mapping[str, str]) -> tuple[list[Json], str]:
        """All items of a collection, page by page, and the version they are at. Raises ApiError."""
        items: list[Json] = []
        page = ""
        while True:
            query = {**selector, "limit": str(PAGE_ITEMS), **({"continue": page} if page else {})}
            answer = await self.get(path, query)
            metadata, found = answer.get("metadata"), answer.get("items")
            if not isinstance(metadata, dict) or not isinstance(found, list):
                # "items": null is how an empty list may be written.
                if not isinstance(metadata, dict) or found is not None:
                    raise GarbledError(f"{path}: an answer that is no list")
                found = []
            items += [item for item in found if isinstance(item, dict)]
            page = str(metadata.get("continue") or "")
            if not page:
                return items, str(metadata.get("resourceVersion") or "")

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """One object. Raises ApiError."""
        async with self._request("GET", path, query or {}, ANSWER_S) as response:
            return _object(await response.read())

    async def send(self, method: str, path: str, body: Any, content_type: str = "application/json") -> Json:
        """Makes (POST), replaces (PUT) or changes (PATCH) an object; gives back what it is then. Raises ApiError."""
        async with self._request(method, path, {}, ANSWER_S, body, content_type) as response:
            return _object(await response.read())

    async def watch(
        self, path: str, selector: Mapping[str, str], version: str, timeout_s: float
    ) -> AsyncGenerator[list[Json], None]:
        """Events after `version`, those that arrived together in one list, for `timeout_s`. Raises ApiError."""
        query = {
            **selector,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(timeout_s))),
        }
        async with self._request("GET", path, query, timeout_s + SILENCE_S) as response:
            _keep_alive(response)
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LONGEST_LINE_BYTES:
                    raise GarbledError(f"{path}: a line without an end")
                if events := [_event(line) for line in lines if line.strip()]:
                    yield events

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        silence_s: float,
        body: Any = None,
        content_type: str = "",
    ) -> AsyncIterator[Any]:
        """An answer with status 200 or 201. `silence_s` bounds the wait for each part of it."""
        timeout = aiohttp.ClientTimeout(total=None, connect=ANSWER_S, sock_connect=ANSWER_S, sock_read=silence_s)
        response = None
        try:
            configuration, rest = await self._open()
            response = await rest.request(
                method,
                configuration.host + path,
                query_params=list(query.items()),
                headers={**await _headers(configuration), **({"Content-Type": content_type} if content_type else {})},
                body=body,
                _preload_content=False,
                _request_timeout=timeout,
            )
            if response.status not in (200, 201):
                raise await self._refused(response)
            yield response
        except (aiohttp.ClientError, OSError, TimeoutError, EOFError) as error:
            raise UnreachableError(f"{path}: {error or type(error).__name__}") from error
        except (ValueError, RecursionError) as error:
            raise GarbledError(f"{path}: {error}") from error
        finally:
            if response is not None:
                response.close()

    async def _refused(self, response: Any) -> RefusedError:
        if response.status == 401:
            # The credentials have run out: whatever they were made of is read anew the next time.
            self._refused_us = True
        text = (await response.content.read(4096)).decode(errors="replace")
        after = response.headers.get("Retry-After", "")
        kind = GoneError if response.status == 410 else RefusedError
        return kind(response.status, _reason(text), float(after) if after.isdecimal() else 0.0)

    async def _open(self) -> tuple[Any, Any]:
        """The client's configuration and its connections."""
        parts = client.parts()
        async with self._lock:
            if self._refused_us:
                await self.close()
            if self._opened is None:
                configuration = parts.Configuration()
                try:
                    await self._authenticate(parts, configuration)
                    self._opened = configuration, parts.RESTClientObject(configuration)
                except Exception as error:
                    # The loader does not check what it reads: a wrong file can raise anything.
                    raise UnreachableError(f"no way to authenticate: {error}") from error
            return self._opened

    async def _authenticate(self, parts: Any, configuration: Any) -> None:
        if self._config.kubeconfig is None:
            parts.load_incluster_config(client_configuration=configuration)
            return
        await parts.load_kube_config(
            config_file=self._config.kubeconfig,
            context=self._config.context,
            client_configuration=configuration,
            persist_config=False,
        )


async def _headers(configuration: Any) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": "meshctl"}
    try:
        for each in (await configuration.auth_settings()).values():
            headers[each["key"]] = each["value"]
    except Exception as error:
        raise UnreachableError(f"no way to authenticate: {error}") from error
    return headers


def _object(body: bytes) -> Json:
    """JSON that is an object; ValueError otherwise."""
    value = json.loads(body)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _event(line: bytes) -> Json:
    """A watch event; an ERROR among them is raised as what it says."""
    event = _object(line)
    held = event.get("object")
    if not isinstance(event.get("type"), str) or not isinstance(held, dict):
        raise ValueError("not a watch event")
    if event["type"] == "ERROR":
        code = held.get("code")
        status = code if isinstance(code, int) else 500
        raise (GoneError if status == 410 else RefusedError)(status, str(held.get("message", "")))
    return event


def _reason(text: str) -> str:
    """What a Status object or a plain text says, on one line."""
    try:
        said = str(_object(text.encode()).get("message", ""))
    except ValueError:
        said = text
    return " ".join(said.split())[:200]


def _keep_alive(response: Any) -> None:
    connection = response.connection
    transport = connection.transport if connection is not None else None
    wire = transport.get_extra_info("socket") if transport is not None else None
    if wire is not None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _options():
            wire.setsockopt(socket.IPPROTO_TCP, option, value)


def _options() -> Iterator[tuple[int, int]]:
    return ((getattr(socket, name), value) for name, value in KEEPALIVE.items() if hasattr(socket, name))
