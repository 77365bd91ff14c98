"""What names lead to, worked out and serialized once for all streams that want the same.

An `Assignment` is one name as it was asked for, by someone in one zone. A change is told to its readers at once, but
work goes in slices, one for each turn of the event loop: one assignment serialized, or a few readers told. Whatever
else the process does gets its turn in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Final, Protocol

from injector.endpoints.messages import LONGEST_NAME, part
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import Name, parse_authority

SLICE: Final = 32
"""Readers told in one turn."""

Key = tuple[str, Name | None, str]
"""The text that was asked for, what it names for the one who asked, and the asker's zone."""


class Reader(Protocol):
    """Someone who wants assignments."""

    def on_change(self, assignment: Assignment, since_s: float) -> None:
        """`assignment.part` is another than before; the change came at `since_s`, in the event loop's time."""


class Assignment:
    """`part` is what responses hold of it; None until the catalog is complete."""

    __slots__ = ("key", "part", "readers", "subscription")

    def __init__(self, key: Key, catalog: Catalog, assignments: Assignments) -> None:
        _, name, zone = self.key = key
        self.part: bytes | None = None
        self.readers: dict[Reader, None] = {}
        self.subscription = catalog.subscribe(name, partial(assignments.on_change, self), zone)

    @property
    def text(self) -> str:
        return self.key[0]


class Assignments:
    """All that any stream wants, kept up to date for as long as one does."""

    def __init__(self, catalog: Catalog, domain: str) -> None:
        self._catalog = catalog
        self._domain = domain
        self._loop = asyncio.get_running_loop()
        self._known: dict[Key, Assignment] = {}
        self._changed: dict[Assignment, float] = {}
        self._untold: deque[tuple[Reader, Assignment, float]] = deque()
        self._working = False

    def __len__(self) -> int:
        return len(self._known)

    def join(self, reader: Reader, text: str, namespace: str, zone: str) -> Assignment:
        """`text` for someone in `namespace` and `zone`; `reader` is told of every change from now on."""
        name = parse_authority(text, namespace, self._domain) if len(text) <= LONGEST_NAME else None
        key = (text, name, zone)
        assignment = self._known.get(key)
        if assignment is None:
            assignment = self._known[key] = Assignment(key, self._catalog, self)
            if self._catalog.complete:
                self._renew(assignment)
        assignment.readers[reader] = None
        return assignment

    def leave(self, reader: Reader, assignment: Assignment) -> None:
        """`reader` does not want it any more."""
        del assignment.readers[reader]
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
                self._untold.extend((reader, assignment, since_s) for reader in assignment.readers)
        for _ in range(min(SLICE, len(self._untold))):
            reader, assignment, since_s = self._untold.popleft()
            reader.on_change(assignment, since_s)
        if self._untold or self._changed:
            self._work_soon()

    def _renew(self, assignment: Assignment) -> bool:
        """Whether it is another now."""
        new = part(assignment.text, assignment.subscription.look())
        if new == assignment.part:
            return False
        assignment.part = new
        return True
