"""AdmissionReview (admission.k8s.io/v1), read and written. Pure.

A request that makes sense is always allowed: this webhook adds to pods, it forbids nothing. What it cannot make sense
of is refused as an HTTP request (`ReviewError`), which the API server takes for a failure, to be ignored.

An API server does not say who it is, so anybody who reaches the webhook can ask in its place. What becomes part of a
request of ours, a namespace or a name, is therefore checked as if no API server had.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from injector.report import Operation, Outcome, Reason

VERSION: Final = "admission.k8s.io/v1"
WARNING_CHARACTERS: Final = 250  # the API server cuts what is longer than 256 bytes, and says so in yet another one
WARNINGS: Final = 15

_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?").fullmatch

MENDABLE: Final = frozenset({Reason.WRONG_ANNOTATION, Reason.MALFORMED, Reason.UID_CLASH, Reason.PORT_CLASH})
"""Why a pod was left alone though somebody wanted it injected, and can mend it."""


class ReviewError(ValueError):
    """What came is no AdmissionReview that can be answered; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Review:
    """What is asked. `pod` is None if it is about something else, which `what` names."""

    uid: str
    namespace: str
    pod: Mapping[str, Any] | None
    is_dry_run: bool
    what: str


def read(body: bytes) -> Review:
    """Raises ReviewError."""
    try:
        review = json.loads(body)
    except RecursionError:
        raise ReviewError(400, "the JSON is nested too deeply") from None
    except ValueError as error:  # also what is not UTF-8
        raise ReviewError(400, f"not JSON: {error}") from error
    if not isinstance(review, dict) or (review.get("apiVersion"), review.get("kind")) != (VERSION, "AdmissionReview"):
        raise ReviewError(400, f"not an AdmissionReview of {VERSION}")
    request = review.get("request")
    uid = request.get("uid") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(uid, str) or not uid:
        raise ReviewError(400, "an AdmissionReview without a request, or a request without a uid")
    kind = _mapping(request.get("kind"))
    what = " ".join(_text(part) for part in (request.get("operation"), kind.get("kind"), request.get("subResource")))
    namespace = _text(request.get("namespace"))
    is_pod = (_text(kind.get("group")), _text(kind.get("version")), what.strip()) == ("", "v1", "CREATE Pod")
    if is_pod and not _NAMESPACE(namespace):
        raise ReviewError(400, f"a pod whose namespace is {namespace[:100]!r}")
    return Review(
        uid,
        namespace,
        _mapping(request.get("object")) if is_pod else None,
        request.get("dryRun") is True,
        what.strip() or "nothing",
    )


def answer(uid: str, patch: Sequence[Operation] = (), warnings: Sequence[str] = ()) -> bytes:
    """The AdmissionReview that allows it, with a patch if there is one."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(list(patch)).encode()).decode()
    if warnings:
        response["warnings"] = [_line(f"meshctl: {text}")[:WARNING_CHARACTERS] for text in warnings[:WARNINGS]]
    return json.dumps({"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}).encode()


def warnings_of(outcome: Outcome) -> tuple[str, ...]:
    """What to tell whoever made the pod."""
    report = outcome.report
    return (*(report.details if report.reason in MENDABLE else ()), *report.warnings)


def _line(text: str) -> str:
    """On one line, and of nothing that a header could not hold."""
    return "".join(each if each.isprintable() else " " for each in text)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
