"""What became of a pod: injected, or why not, by a name that stays the same, and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Operation = Mapping[str, Any]
"""One operation of a JSON Patch (RFC 6902)."""


class Reason(StrEnum):
    """Why a pod was left as it is."""

    DISABLED = "disabled"
    NOT_ENABLED = "not_enabled"
    ALREADY_INJECTED = "already_injected"
    NOT_INJECTED = "not_injected"
    STATIC_POD = "static_pod"
    HOST_NETWORK = "host_network"
    UID_CLASH = "uid_clash"
    PORT_CLASH = "port_clash"
    WINDOWS = "windows"
    WRONG_ANNOTATION = "wrong_annotation"
    UNSUPPORTED_KIND = "unsupported_kind"
    MALFORMED = "malformed"

    @property
    def is_error(self) -> bool:
        """Whether somebody has to mend something before this object can be dealt with."""
        return self in (Reason.WRONG_ANNOTATION, Reason.MALFORMED)


@dataclass(frozen=True, slots=True)
class Report:
    """`reason` is None when there is something to change; `details` are the sentences that go with it."""

    reason: Reason | None = None
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A patch, empty where nothing is to change, and the report that says why."""

    report: Report
    patch: tuple[Operation, ...] = ()


def left(reason: Reason, *details: str, warnings: tuple[str, ...] = ()) -> Outcome:
    """The outcome that changes nothing."""
    return Outcome(Report(reason, details, warnings))
