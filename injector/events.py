"""Events that say on a pod's owner what was injected, or why not (core/v1 Event).

A pod comes from a ReplicaSet, and people look at its Deployment: so the owner's own owner is looked up, where that is
allowed. Events go out one after the other from a bounded queue, at most five in a second, and none is repeated about
the same owner for the same reason within ten minutes; what does not fit is dropped and counted. Telling never waits.

Only what somebody asked for or would be surprised by is told: not that a pod has no sidecar because nobody wanted one.

What an event is about becomes part of a path of the API and is kept for a while, so it is taken only if it can be one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from injector.admission import MENDABLE
from injector.metrics import Metrics
from injector.report import Outcome, Reason, Report
from proxy.discovery.kubernetes.api import ApiError, ApiServer, Json

log = logging.getLogger(__name__)

COMPONENT: Final = "meshctl-controller"
WAITING: Final = 500
REMEMBERED: Final = 5_000
AGAIN_S: Final = 600.0
PAUSE_S: Final = 0.2
SEND_S: Final = 5.0
NOTE_CHARACTERS: Final = 1_000  # an event's message has at most 1,024 bytes

SURPRISING: Final = MENDABLE | {Reason.HOST_NETWORK, Reason.WINDOWS}
"""Why a pod was left alone though somebody wanted it injected."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?").fullmatch
_KIND: Final = re.compile(r"[A-Za-z0-9]{1,63}").fullmatch
_VERSION: Final = re.compile(r"[a-z0-9./-]{1,317}").fullmatch  # a group of 253 characters, and a label
_UID: Final = re.compile(r"[A-Za-z0-9-]{1,64}").fullmatch

_OWNERS: Final = {("apps/v1", "ReplicaSet"): "replicasets", ("batch/v1", "Job"): "jobs"}
"""Kinds that usually have an owner themselves."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    def reference(self) -> dict[str, str]:
        parts = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }
        return {name: value for name, value in parts.items() if value}


@dataclass(frozen=True, slots=True)
class _Told:
    subject: Subject
    report: Report


class Events:
    """A queue of events, and what sends them (`run`)."""

    def __init__(
        self,
        api: ApiServer,
        instance: str,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`instance` is the pod that reports; `clock` counts seconds."""
        self._api = api
        self._instance = instance
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._queue: asyncio.Queue[_Told] = asyncio.Queue(WAITING)
        self._last_s: dict[tuple[Subject, Reason | None], float] = {}

    def tell(self, pod: Mapping[str, Any], namespace: str, outcome: Outcome) -> None:
        """Says what became of a pod, if it is worth an event. Returns at once."""
        report = outcome.report
        subject = subject_of(pod, namespace)
        if subject is None or (report.reason is not None and report.reason not in SURPRISING):
            return
        if not self._is_new(subject, report.reason):
            self._metrics.events.labels("repeated").inc()
            return
        try:
            self._queue.put_nowait(_Told(subject, report))
        except asyncio.QueueFull:
            self._forget(subject, report.reason)
            self._metrics.events.labels("dropped").inc()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            told = await self._queue.get()
            try:
                async with asyncio.timeout(SEND_S):
                    result = await self._send(told)
            except (ApiError, TimeoutError) as error:
                log.debug("no event about %r: %s", told.subject.name, error or "no answer")
                self._forget(told.subject, told.report.reason)
                result = "failed"
            self._metrics.events.labels(result).inc()
            await asyncio.sleep(PAUSE_S)

    async def _send(self, told: _Told) -> str:
        subject = await self._topmost(told.subject)
        if subject != told.subject and not self._is_new(subject, told.report.reason):
            return "repeated"
        event = _event(subject, told.report, self._instance, self._now())
        await self._api.send("POST", f"/api/v1/namespaces/{subject.namespace}/events", event)
        return "sent"

    async def _topmost(self, subject: Subject) -> Subject:
        """The Deployment of a ReplicaSet, the CronJob of a Job; what it is itself where that cannot be found out."""
        plural = _OWNERS.get((subject.api_version, subject.kind))
        if plural is None:
            return subject
        path = f"/apis/{subject.api_version}/namespaces/{subject.namespace}/{plural}/{subject.name}"
        try:
            return _owner(await self._api.get(path), subject.namespace) or subject
        except ApiError as error:
            log.debug("the owner of %s %r: %s", subject.kind, subject.name, error)
            return subject

    def _is_new(self, subject: Subject, reason: Reason | None) -> bool:
        """Whether it was not told lately. Remembers that it is told now."""
        now_s = self._clock()
        last_s = self._last_s.pop((subject, reason), None)
        is_new = last_s is None or now_s - last_s >= AGAIN_S
        self._last_s[subject, reason] = now_s if is_new or last_s is None else last_s
        if len(self._last_s) > REMEMBERED:
            del self._last_s[next(iter(self._last_s))]
        return is_new

    def _forget(self, subject: Subject, reason: Reason | None) -> None:
        self._last_s.pop((subject, reason), None)


def subject_of(pod: Mapping[str, Any], namespace: str) -> Subject | None:
    """What events about a pod that is just being made are about: its owner, or itself if it has a name already."""
    owner = _owner(pod, namespace)
    if owner is not None:
        return owner
    metadata = pod.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return Subject("v1", "Pod", namespace, name, "") if isinstance(name, str) and _NAME(name) and namespace else None


def _owner(item: Json, namespace: str) -> Subject | None:
    metadata = item.get("metadata")
    references = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    for each in references if isinstance(references, list) else ():
        if isinstance(each, dict) and each.get("controller") is True:
            said = (each.get(part) for part in ("apiVersion", "kind", "name", "uid"))
            version, kind, name, uid = (text if isinstance(text, str) else "" for text in said)
            if namespace and _VERSION(version) and _KIND(kind) and _NAME(name) and _UID(uid):
                return Subject(version, kind, namespace, name, uid)
    return None


def _event(subject: Subject, report: Report, instance: str, now: datetime) -> dict[str, Any]:
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    said = "a sidecar was put into a pod" if report.reason is None else "; ".join(report.details)
    note = "; ".join((said, *report.warnings))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{subject.name[:220]}.{secrets.token_hex(8)}", "namespace": subject.namespace},
        "involvedObject": subject.reference(),
        "type": "Warning" if report.reason in MENDABLE else "Normal",
        "reason": "Injected" if report.reason is None else "NotInjected",
        "message": note.encode(errors="replace")[:NOTE_CHARACTERS].decode(errors="ignore"),
        "source": {"component": COMPONENT, "host": instance},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
