"""Clusters for what is called: what no route takes is looked up by the names that a call goes by, and then followed.

A call goes by two names: the authority that it asks for, and the address that it dialled. The first of them that the
directory knows has the call, in a cluster of all that name's endpoints; if it knows neither, the call goes where it
was going. So a headless Service is balanced (its authority is known, whichever pod was dialled), and a pod that was
dialled by itself is respected. Raw TCP has only the address.

The first call of a name waits for the answer, in a cluster that stands in for the one that the answer will lead to.
A directory that stays silent does not hold up calls for longer than `wait_s`: they go where they were going, and
later ones take the way that is known by then. Names that were not called for `idle_s` are forgotten.

An application that calls ever new names (a crawler, or one that is made to) costs its sidecar, the controller and the
calls beside it little: a thousand of them are looked up at once, then a hundred a second; the others go where they
were going. Of so many names those are kept that lead somewhere.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Final

from proxy.clusters import Lanes, Originals
from proxy.config import ClusterConfig, DiscoveryConfig
from proxy.dataplane import Cluster, DataPlane
from proxy.discovery import DoesNotExist, Reset
from proxy.discovery.directory import Answer, Directory

MOST_NAMES: Final = 5000
MOST_WAITING: Final = 1000  # calls of one name
NAMES_AT_ONCE: Final = 1000
NAMES_PER_S: Final = 100.0

_NAME: Final = re.compile(r"[a-z0-9_.:\[\]-]{1,262}").fullmatch  # a DNS name, or an address, and a port

Asked = tuple[str, str, str]
"""Authority, destination and protocol ("http2", "http1" or "tcp"); one of the first two may be empty."""


class Name:
    """What is known of one name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lanes: Lanes | None = None  # None: it is not the directory's
        self.protocol = "detect"
        self.answered = False
        self.waited = False  # for as long as a call may be held up for it
        self.asked = True  # in this period, or it has calls running
        self.waiting: dict[Asked, None] = {}  # what it may decide


class Demand:
    """Keeps the names that are called, and their clusters. `changed`: a way that was shown before is another now."""

    def __init__(
        self,
        plane: DataPlane,
        originals: Originals,
        config: DiscoveryConfig,
        changed: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._plane = plane
        self._loop = loop
        self._originals = originals
        self._config = config
        self._changed = changed
        self._names: dict[str, Name] = {}
        self._nobodys: dict[str, Name] = {}  # those of them that lead nowhere, or not yet
        self._allowance = float(NAMES_AT_ONCE)
        self._allowed_at_s = plane.now_s()
        self._outdated = False  # what the router keeps is not wrong, but is to be asked again before long
        self._waiting: dict[Asked, tuple[Cluster, asyncio.TimerHandle]] = {}
        self._period_began_s = plane.now_s()
        self.directory: Directory | None = None
        self.timeouts = 0
        self.unasked = 0

    # ---- what is asked ----

    def way(self, authority: str, destination: str, protocol: str) -> Cluster | None:
        """Where a call goes that no route takes; None if nowhere. `destination` is "" where there is none."""
        asked = authority.lower() if protocol != "tcp" else "", destination, protocol
        if (waiting := self._waiting.get(asked)) is not None:
            return waiting[0]
        name = self._decisive(asked)
        if name is None or name.answered or name.waited:
            return self._known_way(name, asked)
        cluster = Cluster(
            self._plane,
            name.text,
            protocol=protocol,
            failfast_s=self._config.wait_s + 60,  # it has an end of its own
            max_pending=MOST_WAITING,
            listed=False,
        )
        timer = self._loop.call_later(self._config.wait_s, self._waited, asked)
        self._waiting[asked] = cluster, timer
        for each in self._names_of(asked):
            each.waiting[asked] = None
        return cluster

    def is_tcp(self, destination: str) -> bool:
        """Whether it is known that what is spoken there is not to be looked at."""
        name = self._names.get(destination)
        return name is not None and name.lanes is not None and name.protocol == "tcp"

    def _names_of(self, asked: Asked) -> Iterator[Name]:
        """Those that are looked up so far."""
        return (name for text in asked[:2] if (name := self._names.get(text)) is not None)

    def _decisive(self, asked: Asked) -> Name | None:
        """The first of a call's names that has it, or may have it; None if none of them does."""
        for text in asked[:2]:
            if _NAME(text):
                name = self._name(text)
                if name is not None and (name.lanes is not None or not name.answered):
                    return name
        return None

    def _name(self, text: str) -> Name | None:
        """None if it is a new one, and there are too many."""
        name = self._names.get(text)
        if name is None:
            if not self._may_ask():
                self.unasked += 1
                self._outdated = True
                return None
            if len(self._names) >= MOST_NAMES:
                self._forget(next(iter(self._nobodys.values())))
            name = self._names[text] = self._nobodys[text] = Name(text)
            if self.directory is not None:
                self.directory.follow(text)
        name.asked = True
        return name

    def _may_ask(self) -> bool:
        """Whether one more name may be looked up now, and kept."""
        now_s = self._plane.now_s()
        earned = (now_s - self._allowed_at_s) * NAMES_PER_S
        self._allowance, self._allowed_at_s = min(self._allowance + earned, NAMES_AT_ONCE), now_s
        if self._allowance < 1 or (len(self._names) >= MOST_NAMES and not self._nobodys):
            return False
        self._allowance -= 1
        return True

    def _known_way(self, name: Name | None, asked: Asked) -> Cluster | None:
        _, destination, protocol = asked
        if name is not None and name.lanes is not None:
            return name.lanes.lane(protocol)
        return self._originals.cluster("outbound", destination, protocol) if destination else None

    # ---- what is answered ----

    def told(self, text: str, answer: Answer | None) -> None:
        """What the directory says of a name."""
        name = self._names.get(text)
        if name is None:
            return
        first, was_known = not name.answered, name.lanes is not None
        name.answered = True
        if answer is None:
            self._close(name)
        else:
            self._open(name, answer)
        if first or was_known != (answer is not None):
            self._settle(name)
            if not first or name.waited:
                self._changed()
            else:
                self._outdated = True  # calls of it were given a cluster that leads to the right one

    def _open(self, name: Name, answer: Answer) -> None:
        if name.lanes is None:
            name.lanes = Lanes(self._plane, ClusterConfig(name=name.text, protocol="detect"))
            del self._nobodys[name.text]
        name.protocol = answer.protocol
        name.lanes.update(Reset(answer.endpoints))

    def _settle(self, name: Name) -> None:
        """Send on the calls that waited for it; some have to wait for their second name."""
        for asked in list(name.waiting):
            decisive = self._decisive(asked)
            if decisive is None or decisive.answered or decisive.waited:
                self._lead(asked, self._known_way(decisive, asked))
            else:
                decisive.waiting[asked] = None

    def _waited(self, asked: Asked) -> None:
        """The directory was silent for too long."""
        self.timeouts += 1
        name = self._decisive(asked)
        if name is not None:
            name.waited = True
            self._settle(name)
        if asked in self._waiting:  # its name was forgotten meanwhile
            self._lead(asked, self._known_way(name, asked))
        self._outdated = True

    def _lead(self, asked: Asked, way: Cluster | None) -> None:
        cluster, timer = self._waiting.pop(asked)
        timer.cancel()
        for each in self._names_of(asked):
            each.waiting.pop(asked, None)
        if way is None:
            self._plane.turn(cluster.close)
            self._changed()
        else:
            self._plane.turn(cluster.lead_to, way)

    # ---- the end ----

    def sweep(self) -> None:
        """Forget names that were not called for a whole period. To be called about every second."""
        now_s = self._plane.now_s()
        if now_s - self._period_began_s < self._config.idle_s:
            if self._outdated:
                self._outdated = False
                self._changed()
            return
        self._period_began_s = now_s
        for name in list(self._names.values()):
            if not name.asked and not _in_use(name):
                self._forget(name)
            name.asked = False
        self._outdated = False
        self._changed()  # so that the next call of each name is seen

    def _forget(self, name: Name) -> None:
        self._close(name)
        del self._names[name.text], self._nobodys[name.text]
        if self.directory is not None:
            self.directory.forget(name.text)
        self._outdated = True

    def close(self) -> None:
        for asked in list(self._waiting):
            self._lead(asked, None)
        for name in self._names.values():
            self._close(name)

    def _close(self, name: Name) -> None:
        if name.lanes is not None:
            name.lanes.update(DoesNotExist())
            name.lanes.close()
            name.lanes = None
            self._nobodys[name.text] = name

    # ---- what is shown ----

    @property
    def waiting(self) -> int:
        """Calls that wait for an answer."""
        return sum(cluster.pending for cluster, _ in self._waiting.values())

    @property
    def connected(self) -> bool:
        """Whether the directory can be reached."""
        return self.directory is not None and self.directory.connected

    def counts(self) -> dict[str, int]:
        """How many names there are of each kind: "known", "unknown" to the directory, and "unanswered"."""
        kinds = {"known": 0, "unknown": 0, "unanswered": 0}
        for name in self._names.values():
            kinds["unanswered" if not name.answered else "unknown" if name.lanes is None else "known"] += 1
        return kinds


def _in_use(name: Name) -> bool:
    clusters = name.lanes.clusters() if name.lanes is not None else ()
    return any(each.pending or any(endpoint.in_flight for endpoint in each.endpoints) for each in clusters)
