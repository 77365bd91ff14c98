"""Which replica may write: leader election with a Lease (coordination.k8s.io/v1), by the rules that client-go set.

A leader renews its lease every 2 s. Whoever sees a lease unchanged for its duration, 15 s by its own clock, takes it;
clocks are never compared, what others wrote as times is for people. Writes carry the version that was read, so of two
that take it one fails. A leader that could not renew for 10 s, counted from before its last good request was sent,
stops leading: 5 s before anybody can follow. One that ends gives the lease back.

What is done while leading is a coroutine, cancelled when the lease is lost. A write that was already sent then may
still arrive, so what leaders write must be conditional too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from proxy.discovery.kubernetes.api import ApiError, Json, RefusedError

log = logging.getLogger(__name__)

LEASE_S: Final = 15
RENEW_S: Final = 10.0
RETRY_S: Final = 2.0
JITTER: Final = 1.2  # who waits for a lease does so for up to this much longer
ANSWER_S: Final = 4.0  # so that one request without an answer does not cost the lease
RELEASE_S: Final = 2.0


class Objects(Protocol):
    """What is needed of an API server."""

    async def get(self, path: str) -> Json: ...

    async def send(self, method: str, path: str, body: Any) -> Json: ...


class Election:
    """One candidate for one lease."""

    def __init__(
        self,
        api: Objects,
        namespace: str,
        name: str,
        identity: str,
        *,
        on_change: Callable[[bool], None] = lambda _: None,
        uniform: Callable[[float, float], float] = random.uniform,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`identity` must be nobody else's, also not an earlier process's. `now` is only for people to read."""
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._identity = identity
        self._on_change = on_change
        self._uniform = uniform
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._seen: Json | None = None  # the lease as it was last read or written
        self._seen_at_s = 0.0
        self._renewed_at_s = 0.0
        self._must_read = True
        self.leads = False

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until it is cancelled: waits for the lease, runs `lead` while it is held, waits again."""
        while True:
            if await self._tried():
                await self._while_held(lead())
            await asyncio.sleep(RETRY_S * self._uniform(1.0, 1.0 + JITTER))

    async def _while_held(self, work: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.create_task(work), asyncio.create_task(self._renew())]
        self._say(True)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._say(False)
            await self._release()
        for task in done:
            task.result()  # a fault of ours ends more than this

    async def _renew(self) -> None:
        """Returns when the lease is lost."""
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                async with asyncio.timeout_at(self._renewed_at_s + RENEW_S):
                    while not await self._tried():
                        if self._holder() != self._identity:
                            return
                        await asyncio.sleep(RETRY_S)
            except TimeoutError:
                log.warning("the lease could not be renewed for %g s", RENEW_S)
                return

    async def _tried(self) -> bool:
        """One try to take or to renew; whether the lease is ours now."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._try()
        except (ApiError, TimeoutError) as error:
            log.debug("lease %s: %s", self._name, error or "no answer")
            self._must_read = True
            return False

    async def _try(self) -> bool:
        sent_at_s = self._clock()
        path = f"{self._collection}/{self._name}"
        if not self.leads or self._must_read:
            try:
                self._look(await self._api.get(path))
            except RefusedError as error:
                if error.status != 404:
                    raise
                self._look(await self._api.send("POST", self._collection, self._written(None)))
                return self._is_renewed(sent_at_s)
        self._must_read = False
        if self._holder() != self._identity and not self._has_lapsed():
            return False
        self._look(await self._api.send("PUT", path, self._written(self._seen)))
        return self._is_renewed(sent_at_s)

    def _look(self, lease: Json) -> None:
        if self._seen is None or _version(lease) != _version(self._seen):
            self._seen_at_s = self._clock()
        self._seen = lease

    def _is_renewed(self, sent_at_s: float) -> bool:
        if self._holder() == self._identity:
            self._renewed_at_s = sent_at_s
            return True
        return False

    def _holder(self) -> str:
        return str(_spec(self._seen).get("holderIdentity") or "")

    def _has_lapsed(self) -> bool:
        lasts_s = _spec(self._seen).get("leaseDurationSeconds")
        lasts_s = lasts_s if isinstance(lasts_s, int) else LEASE_S
        return not self._holder() or self._clock() >= self._seen_at_s + lasts_s

    def _written(self, before: Json | None) -> dict[str, Any]:
        """The lease as ours, from what it was."""
        spec, now = _spec(before), self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_ours = spec.get("holderIdentity") == self._identity
        transitions = spec.get("leaseTransitions")
        transitions = transitions if isinstance(transitions, int) else 0
        metadata = {"name": self._name} if before is None else before.get("metadata")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                **spec,
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_S,
                "acquireTime": spec.get("acquireTime") if is_ours else now,
                "renewTime": now,
                "leaseTransitions": transitions if is_ours or before is None else transitions + 1,
            },
        }

    async def _release(self) -> None:
        """Gives the lease back if it is still ours: whoever waits need not wait for its end."""
        if self._seen is None or self._holder() != self._identity:
            return
        given_back = {**self._seen, "spec": {**_spec(self._seen), "holderIdentity": "", "leaseDurationSeconds": 1}}
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                self._look(await self._api.send("PUT", f"{self._collection}/{self._name}", given_back))

    def _say(self, leads: bool) -> None:
        if leads != self.leads:
            log.info("%s leads%s", self._identity, "" if leads else " no more")
        self.leads = leads
        self._on_change(leads)


def _spec(lease: Json | None) -> Json:
    spec = lease.get("spec") if lease is not None else None
    return spec if isinstance(spec, dict) else {}


def _version(lease: Json) -> object:
    metadata = lease.get("metadata")
    return metadata.get("resourceVersion") if isinstance(metadata, dict) else None
