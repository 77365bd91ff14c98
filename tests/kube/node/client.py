"""The API server as a node uses it: requests, and collections kept up to date. On purpose not the code under test."""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

log = logging.getLogger(__name__)

ANSWER_S = 10.0
WATCH_S = 300
AGAIN_S = 0.2
PATCH = "application/merge-patch+json"

Json = dict[str, Any]
Key = tuple[str, str]  # namespace, name


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError)


class Client:
    """Requests to one API server, as the owner of a client certificate."""

    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        self._server = server
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=0))

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, media_type: str = "application/json"
    ) -> Json:
        """The answer's JSON. Raises RefusedError, or one of UNREACHABLE."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        text = None if body is None else json.dumps(body)
        headers = {"Content-Type": media_type}
        async with self._session.request(
            method, self._server + path, data=text, headers=headers, timeout=timeout
        ) as response:
            answer = await response.text()
            if response.status >= 300:
                raise RefusedError(response.status, answer[:500])
            found: Json = json.loads(answer)
            return found

    async def insist(self, method: str, path: str, body: Mapping[str, Any], media_type: str = PATCH) -> Json | None:
        """Asks until there is an answer; None if the object is gone or is another one by now."""
        while True:
            try:
                return await self.request(method, path, body, media_type)
            except RefusedError as error:
                if error.status in (404, 409):
                    return None
                log.warning("%s %s: %s", method, path, error)
            except UNREACHABLE:
                pass
            await asyncio.sleep(AGAIN_S)

    async def lines(self, path: str) -> Any:
        """A watch: its open response."""
        timeout = aiohttp.ClientTimeout(total=WATCH_S + ANSWER_S, sock_connect=ANSWER_S)
        response = await self._session.get(self._server + path, timeout=timeout)
        if response.status != 200:
            text = await response.text()
            raise RefusedError(response.status, text[:500])
        return response


@dataclass
class Mirror:
    """A collection kept up to date; `listeners` are told of each object that is new, other, or (None) gone.

    `listed`: all that was there at first is known.
    """

    client: Client
    path: str
    objects: dict[Key, Json] = field(default_factory=dict)
    listeners: list[Callable[[Key, Json | None], None]] = field(default_factory=list)
    listed: bool = False

    async def run(self) -> None:
        """Until it is cancelled. While the API server is away, the objects stay as they are."""
        while True:
            with contextlib.suppress(RefusedError, *UNREACHABLE):
                await self._watch(await self._list())
            await asyncio.sleep(AGAIN_S)

    async def _list(self) -> str:
        answer = await self.client.request("GET", self.path)
        found = {_key(item): item for item in answer["items"]}
        self.listed = True
        for key in [key for key in self.objects if key not in found]:
            self._set(key, None)
        for key, item in found.items():
            self._set(key, item)
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> None:
        response = await self.client.lines(f"{self.path}?watch=1&resourceVersion={version}&timeoutSeconds={WATCH_S}")
        rest = b""
        try:
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    self._set(_key(event["object"]), None if event["type"] == "DELETED" else event["object"])
        finally:
            response.close()

    def _set(self, key: Key, item: Json | None) -> None:
        if item is None:
            self.objects.pop(key, None)
        elif _version(self.objects.get(key)) == _version(item):
            return
        else:
            self.objects[key] = item
        for listener in self.listeners:
            listener(key, item)


def _key(item: Json) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _version(item: Json | None) -> object:
    return item and item["metadata"]["resourceVersion"]
