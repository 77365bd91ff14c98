"""What must be true of calls that are looked up, worked out in the plainest way: the oracle of random interleavings.

`Known` says where a call may go by what was told so far, and which names' silence has been waited for. It is moved by
the same events as the real thing and shares no code with it.
"""

from __future__ import annotations

from collections.abc import Collection

Asked = tuple[str, str]
"""Authority (empty for TCP) and address dialled (empty without one)."""


class Known:
    """`answers` holds, of names that are followed, the hosts they lead to; None for nobody's, and UNANSWERED."""

    UNANSWERED: Collection[str] = ("unanswered",)

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self.answers: dict[str, Collection[str] | None] = {}
        self.waited: set[str] = set()
        self.timeouts = 0
        self.waiting: dict[tuple[Asked, str], float] = {}  # and the protocol: since when

    def call(self, asked: Asked, protocol: str, now_s: float) -> None:
        """A call begins."""
        self._follow(asked)
        if self.places(asked) is None:
            self.waiting.setdefault((asked, protocol), now_s)

    def told(self, name: str, hosts: Collection[str] | None) -> None:
        """What the directory says of a name, which means nothing where that is not followed."""
        if name in self.answers:
            self.answers[name] = hosts
            self._settle()

    def passes(self, now_s: float) -> None:
        """It is `now_s`."""
        for (asked, protocol), since_s in list(self.waiting.items()):
            if now_s - since_s >= self.wait_s - 1e-9 and (asked, protocol) in self.waiting:
                name = self._decisive(asked)
                assert name is not None, "it would have been settled"
                self.waited.add(name)
                self.timeouts += 1
                self._settle()

    def forgotten(self, name: str) -> None:
        """The name is followed no more."""
        self.answers.pop(name, None)
        self.waited.discard(name)

    def places(self, asked: Asked) -> Collection[str] | None:
        """Hosts that such a call may go to now; empty: it has to fail; None: it has to wait."""
        name = self._decisive(asked)
        if name is None:
            return self._past(asked)
        hosts = self.answers.get(name, self.UNANSWERED)
        if hosts is self.UNANSWERED:
            return self._past(asked) if name in self.waited else None
        assert hosts is not None
        return hosts

    def _past(self, asked: Asked) -> Collection[str]:
        return {asked[1].rpartition(":")[0]} if asked[1] else ()

    def _decisive(self, asked: Asked) -> str | None:
        for name in filter(None, asked):
            if self.answers.get(name, self.UNANSWERED) is not None:
                return name
        return None

    def _follow(self, asked: Asked) -> None:
        """It is asked for its names, one after the other, until one may have it."""
        name = self._decisive(asked)
        if name is not None:
            self.answers.setdefault(name, self.UNANSWERED)

    def _settle(self) -> None:
        for asked, protocol in list(self.waiting):
            self._follow(asked)
            if self.places(asked) is not None:
                del self.waiting[asked, protocol]
