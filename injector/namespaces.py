"""What namespaces say about injection: their annotations, kept by a watch.

A namespace that is not known yet, as it was only just made, is fetched once, however many pods ask. Only annotations
of ours are kept. The API server unreachable: the last that was known stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from injector.settings import CONFIG_PREFIX, INJECT
from proxy.discovery.kubernetes.api import ApiError, ApiServer, Json, RefusedError
from proxy.discovery.kubernetes.follow import Collection, Follower

log = logging.getLogger(__name__)

PATH: Final = "/api/v1/namespaces"
FETCH_S: Final = 1.0  # the API server waits 5 s for an admission
FETCHES: Final = 50  # at a time: who asks need not be an API server, and might name any number that do not exist

Annotations = Mapping[str, str]


class Namespaces:
    """A sink of Namespaces, and what asks for one."""

    def __init__(self, api: ApiServer, only: Sequence[str] = ()) -> None:
        """`only` some are followed, or else all."""
        self._api = api
        self._only = only
        self._known: dict[str, Annotations] = {}
        self._fetching: dict[str, asyncio.Task[Annotations | None]] = {}
        selectors = [{"fieldSelector": f"metadata.name={name}"} for name in only] or [{}]
        self._followers = [
            Follower(api, Collection(PATH, selector), _Part(self._known, only[index : index + 1]))
            for index, selector in enumerate(selectors)
        ]

    @property
    def are_listed(self) -> bool:
        return all(follower.listed.is_set() for follower in self._followers)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for follower in self._followers:
                tasks.create_task(follower.run())

    def covers(self, name: str) -> bool:
        """Whether it is one of those that this controller is for."""
        return not self._only or name in self._only

    async def annotations(self, name: str) -> Annotations | None:
        """A namespace's annotations of ours; None if they cannot be had within FETCH_S, or FETCHES already run."""
        known = self._known.get(name)
        if known is not None:
            return known
        fetching = self._fetching.get(name)
        if fetching is None:
            if len(self._fetching) >= FETCHES:
                return None
            fetching = self._fetching[name] = asyncio.create_task(self._fetch(name))
            fetching.add_done_callback(lambda _: self._fetching.pop(name))
        return await asyncio.shield(fetching)

    async def _fetch(self, name: str) -> Annotations | None:
        try:
            async with asyncio.timeout(FETCH_S):
                found = _ours(await self._api.get(f"{PATH}/{name}"))
        except (ApiError, TimeoutError) as error:
            if not (isinstance(error, RefusedError) and error.status == 404):
                log.warning("namespace %r: %s", name, error or "no answer")
            return None
        # What the watch says is at least as new.
        return self._known.setdefault(name, found)


class _Part:
    """What one follower knows: all namespaces, or the one in `only`."""

    def __init__(self, known: dict[str, Annotations], only: Sequence[str]) -> None:
        self._known = known
        self._only = only

    def replace(self, items: Sequence[Json]) -> None:
        listed = {_name(item): _ours(item) for item in items}
        for name in self._only or list(self._known):
            if name not in listed:
                self._known.pop(name, None)
        self._known.update(listed)

    def put(self, item: Json) -> None:
        self._known[_name(item)] = _ours(item)

    def drop(self, item: Json) -> None:
        self._known.pop(_name(item), None)


def _name(item: Json) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _ours(item: Json) -> Annotations:
    metadata = item.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if name == INJECT or name.startswith(CONFIG_PREFIX)}
