"""A Kubernetes API server on loopback that behaves or misbehaves as a test says.

It speaks real HTTP (aiohttp) from a thread of its own, so that it serves other processes too: lists with pages,
selectors, watches from a version, bookmarks, 410 for a version that is forgotten; single objects, made, replaced and
patched on condition of their version. `put` and `delete` change its objects, and who watches is told. What it does
wrong is set by attributes or done by methods, at any time.
"""

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import jsonpatch
import yaml
from aiohttp import web

from tests.support.ports import free_port

Object = dict[str, Any]
T = TypeVar("T")

SERVICES, SLICES = "services", "endpointslices"


class KubernetesServer:
    """Used as a context manager. `requests` has (kind of request, path, query) of each that came."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.tokens: list[str] = []
        self.refuse_lists: int | None = None  # with this status
        self.refuse_watches: int | None = None
        self.retry_after: str | None = None  # said with a refusal
        self.close_watches = False  # each watch ends as soon as it has begun
        self.token: str | None = None  # the one that is accepted; None: all
        self.silent = False  # accepts requests, and never answers
        self.refuse_writes: int | None = None
        self._objects: dict[str, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._events: dict[str, list[tuple[int, str, Object]]] = defaultdict(list)
        self._made_s: dict[int, float] = {}  # when each version was made (time.monotonic)
        self._version = 100
        self._forgotten = 0  # watches from before this version are gone
        self._watches: set[tuple[str, asyncio.Queue[bytes | None]]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._runner: web.AppRunner | None = None

    # ---- its objects ----

    def put(self, *items: Object) -> None:
        """New or changed objects; told to watchers in one write."""
        self._on_loop(self._put(items))

    def delete(self, item: Object) -> None:
        self._on_loop(self._delete(item))

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """An object as it is now; `kind` is in the plural."""
        return self._objects[kind].get((namespace, name))

    def as_it_was(self, at_s: float, kind: str, name: str) -> Object | None:
        """A cluster-wide object as it was at that time (time.monotonic); None if it was not yet there."""
        events = [item for version, _, item in list(self._events[kind]) if self._made_s[version] <= at_s]
        return next((item for item in reversed(events) if item["metadata"]["name"] == name), None)

    def all(self, kind: str) -> list[Object]:
        return list(self._objects[kind].values())

    def forget(self) -> None:
        """All versions so far are forgotten, as when etcd is compacted."""
        self._forgotten = self._version

    def replace_quietly(self, kind: str, *items: Object) -> None:
        """The objects of a kind are others now, and no watch was told: what happens while nobody is connected."""
        self._on_loop(self._replace(kind, items))

    # ---- what it does wrong ----

    def send(self, kind: str, *lines: bytes) -> None:
        """These lines to all watches of `kind`, whatever they are."""
        self._on_loop(self._send(kind, b"".join(lines)))

    def bookmark(self, kind: str) -> None:
        """A bookmark of the newest version."""
        self._version += 1
        version = {"metadata": {"resourceVersion": str(self._version)}}
        self.send(kind, _line("BOOKMARK", version))

    def fail_watches(self, kind: str, code: int) -> None:
        """An ERROR event in all watches of `kind`, which end then."""
        self.send(kind, _line("ERROR", {"kind": "Status", "code": code, "message": "too old resource version"}))
        self.end_watches(kind)

    def end_watches(self, kind: str) -> None:
        """All watches of `kind` end cleanly."""
        self._on_loop(self._end(kind))

    def watches(self, kind: str) -> int:
        """How many are open."""
        return sum(1 for of, _ in list(self._watches) if of == kind)

    def count(self, what: str) -> int:
        """How many requests of a kind came: "list" or "watch"."""
        return sum(1 for kind, _, _ in list(self.requests) if kind == what)

    # ---- life ----

    def kubeconfig(self, directory: Path, token: str = "secret") -> Path:
        """Writes a file that leads here."""
        path = directory / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "test", "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def start(self) -> None:
        """Listens (again)."""
        self._on_loop(self._start())

    def stop(self) -> None:
        """Every connection is closed, and nothing listens."""
        self._on_loop(self._stop())

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            for _, queue in self._watches:
                queue.put_nowait(None)
            await runner.cleanup()

    # ---- requests ----

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        place = Place.of(request.path)
        watching = "watch" in query
        what = "watch" if watching else "list" if request.method == "GET" and not place.name else request.method.lower()
        self.requests.append((what, request.path, query))
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.silent:
            await asyncio.sleep(3600)
        if self.token is not None and self.tokens[-1] != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        refusal = self.refuse_watches if watching else self.refuse_lists
        if refusal is not None:
            answer = _status(refusal, "refused by the test")
            if self.retry_after is not None:
                answer.headers["Retry-After"] = self.retry_after
            return answer
        if what in ("list", "watch"):
            selected = _selector(place.namespace, query)
            if watching:
                return await self._watch(request, place.kind, selected)
            return self._list(place.kind, query, selected)
        if what != "get" and self.refuse_writes is not None:
            return _status(self.refuse_writes, "refused by the test")
        return await self._single(request, place)

    async def _single(self, request: web.Request, place: "Place") -> web.Response:
        """One object: read, made (POST), replaced (PUT) or changed by a JSON Patch (PATCH)."""
        body = await request.json() if request.can_read_body else None
        if request.method == "POST":
            body = {**body, "metadata": {"namespace": place.namespace, **body["metadata"]}}
            place = replace(place, name=body["metadata"]["name"])
        held = self._objects[place.kind].get((place.namespace, place.name))
        if (held is None) != (request.method == "POST"):
            return _status(409, "already exists") if held else _status(404, f"{place.kind} {place.name} not found")
        if request.method == "GET":
            return web.json_response(held)
        if request.method == "PATCH":
            try:
                body = jsonpatch.apply_patch(held, body)
            except jsonpatch.JsonPatchException as error:
                return _status(422, str(error))
        expected = body["metadata"].get("resourceVersion")
        if held and expected is not None and expected != held["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        await self._put((body,), place.kind)
        return web.json_response(self._objects[place.kind][_key(body)], status=201 if held is None else 200)

    def _list(self, kind: str, query: dict[str, str], selected: Callable[[Object], bool]) -> web.Response:
        items = [item for _, item in sorted(self._objects[kind].items()) if selected(item)]
        first, count = int(query.get("continue", 0)), int(query.get("limit", 500))
        page = items[first : first + count]
        more = str(first + count) if first + count < len(items) else ""
        metadata = {"resourceVersion": str(self._version), "continue": more}
        return web.json_response({"kind": "List", "metadata": metadata, "items": page or None})

    async def _watch(self, request: web.Request, kind: str, selected: Callable[[Object], bool]) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        if since < self._forgotten:
            return _status(410, "too old resource version")
        response = web.StreamResponse()
        await response.prepare(request)
        if self.close_watches:
            return response
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for version, event, item in self._events[kind]:
            if version > since and selected(item):
                queue.put_nowait(_line(event, item))
        self._watches.add((kind, queue))
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while (data := await queue.get()) is not None:
                    await response.write(data)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self._watches.discard((kind, queue))
        return response

    async def _put(self, items: tuple[Object, ...], of: str = "") -> None:
        lines: dict[str, bytes] = {}
        for item in items:
            kind, key = of or _kind(item), _key(item)
            event = "MODIFIED" if key in self._objects[kind] else "ADDED"
            held = self._objects[kind][key] = self._versioned(item)
            self._events[kind].append((self._version, event, held))
            lines[kind] = lines.get(kind, b"") + _line(event, held)
        for kind, data in lines.items():
            await self._send(kind, data)

    async def _delete(self, item: Object) -> None:
        kind = _kind(item)
        held = self._versioned(self._objects[kind].pop(_key(item)))
        self._events[kind].append((self._version, "DELETED", held))
        await self._send(kind, _line("DELETED", held))

    async def _replace(self, kind: str, items: tuple[Object, ...]) -> None:
        self._objects[kind] = {_key(item): self._versioned(item) for item in items}

    async def _send(self, kind: str, data: bytes) -> None:
        for of, queue in self._watches:
            if of == kind:
                queue.put_nowait(data)

    async def _end(self, kind: str) -> None:
        for of, queue in self._watches:
            if of == kind:
                queue.put_nowait(None)

    def _versioned(self, item: Object) -> Object:
        self._version += 1
        self._made_s[self._version] = time.monotonic()
        return {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}


@dataclass(frozen=True)
class Place:
    """What a path leads to: a collection, or one object in it."""

    kind: str
    namespace: str = ""
    name: str = ""

    @classmethod
    def of(cls, path: str) -> "Place":
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        return cls(parts[0], namespace, *parts[1:])


def _kind(item: Object) -> str:
    """By what it is called, or else by what it has."""
    if "kind" in item:
        return item["kind"].lower() + "s"
    return SERVICES if "spec" in item else SLICES


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _line(event: str, item: Object) -> bytes:
    return json.dumps({"type": event, "object": item}).encode() + b"\n"


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


def _selector(namespace: str, query: dict[str, str]) -> Callable[[Object], bool]:
    _, _, name = query.get("fieldSelector", "").partition("metadata.name=")
    label, _, value = query.get("labelSelector", "").partition("=")

    def selected(item: Object) -> bool:
        metadata = item["metadata"]
        return (
            namespace in ("", metadata.get("namespace"))
            and name in ("", metadata["name"])
            and (not label or metadata.get("labels", {}).get(label) == value)
        )

    return selected
