"""What names lead to, worked out and serialized once for all streams that want the same.

An `Assignment` is what one name means to someone in one zone, in whatever words it was asked for: as many as there are
Services, not as there are spellings of them. A change is told to its readers at once, but work goes in slices, one
for each turn of the event loop: one assignment serialized, or a few readers told. Whatever else the process does gets
its turn in between. Those who ask for names take such turns too, one of them at a time (`turn`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Final, Protocol

from injector.endpoints.messages import LONGEST_NAME, serialized
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import Name, parse_authority

SLICE: Final = 32
"""Readers told in one turn."""

Key = tuple[Name | None, str]
"""What was asked for, and the asker's zone."""


class Reader(Protocol):
    """Someone who wants assignments."""

    def on_change(self, text: str, assignment: Assignment, since_s: float) -> None:
        """What it asked for as `text` is another than before, since `since_s` in the event loop's time."""


class Assignment:
    """`endpoints` are serialized, None if it is not ours to say; nothing is before the catalog is complete."""

    __slots__ = ("endpoints", "is_known", "key", "readers", "subscription")

    def __init__(self, key: Key, catalog: Catalog, assignments: Assignments) -> None:
        name, zone = self.key = key
        self.endpoints: bytes | None = None
        self.is_known = False
        self.readers: dict[tuple[Reader, str], None] = {}
        self.subscription = catalog.subscribe(name, partial(assignments.on_change, self), zone)


class Assignments:
    """All that any stream wants, kept up to date for as long as one does."""

    def __init__(self, catalog: Catalog, domain: str) -> None:
        self._catalog = catalog
        self._domain = domain
        self._loop = asyncio.get_running_loop()
        self._known: dict[Key, Assignment] = {}
        self._changed: dict[Assignment, float] = {}
        self._untold: deque[tuple[Reader, str, Assignment, float]] = deque()
        self._working = False
        self.turn = asyncio.Lock()  # which is fair

    def __len__(self) -> int:
        return len(self._known)

    def join(self, reader: Reader, text: str, namespace: str, zone: str) -> Assignment:
        """`text` for someone in `namespace` and `zone`; `reader` is told of every change from now on."""
        name = parse_authority(text, namespace, self._domain) if len(text) <= LONGEST_NAME else None
        key = (name, zone if name is not None else "")
        assignment = self._known.get(key)
        if assignment is None:
            assignment = self._known[key] = Assignment(key, self._catalog, self)
            if self._catalog.complete:
                self._renew(assignment)
        assignment.readers[reader, text] = None
        return assignment

    def leave(self, reader: Reader, text: str, assignment: Assignment) -> None:
        """`reader` does not want it by that name any more."""
        del assignment.readers[reader, text]
        if not assignment.readers:
            assignment.subscription.close()
            del self._known[assignment.key]

    def on_change(self, assignment: Assignment) -> None:
        """The catalog says so, at most once until it is looked at."""
        self._changed[assignment] = self._loop.time()
        self._work_soon()

    def _work_soon(self) -> None:
        if not self._working:
            self._working = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        self._working = False
        if not self._untold and self._changed:
            assignment = next(iter(self._changed))
            since_s = self._changed.pop(assignment)
            if self._renew(assignment):
                self._untold.extend((reader, text, assignment, since_s) for reader, text in assignment.readers)
        for _ in range(min(SLICE, len(self._untold))):
            reader, text, assignment, since_s = self._untold.popleft()
            reader.on_change(text, assignment, since_s)
        if self._untold or self._changed:
            self._work_soon()

    def _renew(self, assignment: Assignment) -> bool:
        """Whether it is another now."""
        target = assignment.subscription.look()
        new = None if target is None else serialized(target)
        if assignment.is_known and new == assignment.endpoints:
            return False
        assignment.endpoints, assignment.is_known = new, True
        return True
