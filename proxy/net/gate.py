"""How many connections clients may have: so many that a descriptor is left for each one's way on to an endpoint.

A connection over HTTP/1.x or TCP needs one to an endpoint, so clients get half of the process's descriptors, less what
the proxy needs for itself. Beyond that listeners stop accepting, and who comes waits in their backlog; left to libuv,
it would be accepted and closed. Running calls never meet EMFILE (semantics: 13). Knows no sockets, it only counts.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable

log = logging.getLogger(__name__)

RESERVE = 64  # files, listeners, admin connections, HTTP/2 connections to endpoints
FEWEST = 8
QUIET_PART = 32  # accepting resumes when this part of the room is free again, so that it does not flutter


def raise_limit() -> int:
    """Take as many descriptors as we are allowed to; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Gate:
    """Counts clients' connections: `enter` when one is accepted, `leave` when its descriptor is given back.

    `on_leave`, where set, is called whenever one has left.
    """

    def __init__(self, descriptors: int, on_change: Callable[[bool], object]) -> None:
        """`on_change` is told whether to accept, each time that changes."""
        self.most = max((descriptors - RESERVE) // 2, FEWEST)
        self.open = 0
        self.is_open = True
        self._resume_at = self.most - 1 - self.most // QUIET_PART
        self._on_change = on_change
        self.on_leave: Callable[[], object] | None = None

    def enter(self) -> None:
        self.open += 1
        if self.open >= self.most and self.is_open:
            self.is_open = False
            log.warning("%d connections from clients: others wait until some close", self.open)
            self._on_change(False)

    def leave(self) -> None:
        self.open -= 1
        if self.open <= self._resume_at and not self.is_open:
            self.is_open = True
            self._on_change(True)
        if self.on_leave is not None:
            self.on_leave()
