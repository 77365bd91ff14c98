"""The annotations of namespaces and pods: which there are, what they may say, and the settings they make.

A value is text from whoever may write a pod, so each is read strictly and in bounded time, and what comes out is built
from what was understood. A wrong value is an error that names the annotation; every error is found, not only the
first. An empty value is as if the annotation were not there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from injector.iptables import parse_ports
from injector.settings import CONFIG_PREFIX, INJECT, Settings

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
SWITCH: Final = {"enabled": True, "disabled": False}
HIGHEST_GRACE_S: Final = 86_400
LONGEST_CHARACTERS: Final = 4_096  # of a value; a pod's annotations may have 256 KiB
MOST_UNKNOWN: Final = 10

# No text can be divided into these in two ways: a value that nearly fits takes no longer than one that does.
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_LABEL: Final = r"[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*"
_HOST: Final = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
_IMAGE: Final = re.compile(
    rf"(?:(?:{_HOST})/)?{_COMPONENT}(?:/{_COMPONENT})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
).fullmatch
_QUANTITY: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([a-zA-Z]{0,2})").fullmatch
_DURATION: Final = re.compile(r"([0-9]{1,6})(s|m|)").fullmatch

_DECIMAL_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MEMORY_UNITS: Final = {**_DECIMAL_UNITS, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_CPU_UNITS: Final = {"": Decimal(1), "m": Decimal("0.001")}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One `config.meshctl.io/` annotation: the setting it changes, how it is read, and what it may say in words."""

    setting: str
    read: Callable[[str], Any]
    value: str


class AnnotationsError(ValueError):
    """Annotations that cannot be used; `errors` has a line for each wrong one, which begins with its name."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(self.errors))


def is_wanted(namespace: Mapping[str, Any], pod: Mapping[str, Any], by_default: bool) -> tuple[bool, str]:
    """Whether a sidecar is asked for, and by what: "pod", which counts most, "namespace", or "" for neither."""
    for whose, given in (("pod", pod), ("namespace", namespace)):
        if value := given.get(INJECT):
            return _named(INJECT, _switch, value), whose
    return by_default, ""


def settings_of(settings: Settings, namespace: Mapping[str, Any], pod: Mapping[str, Any]) -> Settings:
    """`settings` with what the annotations say; the pod's win. Raises `AnnotationsError`."""
    changes: dict[str, Any] = {}
    errors: list[str] = []
    for name, annotation in ANNOTATIONS.items():
        value = pod.get(name) or namespace.get(name)
        if value is None or value == "":
            continue
        try:
            changes[annotation.setting] = _named(name, annotation.read, value)
        except AnnotationsError as error:
            errors += error.errors
    if errors:
        raise AnnotationsError(errors)
    return _with_limits(replace(settings, **changes), changes)


def unknown(annotations: Mapping[str, Any]) -> list[str]:
    """A warning for each annotation that looks like ours and is none; past MOST_UNKNOWN they are only counted."""
    found = [str(name) for name in annotations if str(name).startswith(CONFIG_PREFIX) and name not in ANNOTATIONS]
    warnings = [f"annotation {name[:100]} is not known{_meant(name)}" for name in found[:MOST_UNKNOWN]]
    return warnings + ([f"and {rest} more are not known"] if (rest := len(found) - MOST_UNKNOWN) > 0 else [])


def quantity(text: str, units: Mapping[str, int | Decimal]) -> Decimal:
    """The number of cores or bytes of "250m" or "64Mi". Raises ValueError."""
    found = _QUANTITY(text)
    if found is None or found[2] not in units or not Decimal(found[1]):
        raise ValueError(f"{text[:60]!r} is not a quantity above 0 with one of the units {_units(units)}")
    return Decimal(found[1]) * units[found[2]]


def image(text: str) -> str:
    """An image's name, as it is. Raises ValueError."""
    if len(text) > 500 or not _IMAGE(text):
        raise ValueError(f"{text[:60]!r} is not an image like registry.example/meshctl:1.0")
    return text


def _named(name: str, read: Callable[[str], Any], value: Any) -> Any:
    try:
        if not isinstance(value, str):
            raise ValueError(f"{str(value)[:60]} is not text; put it in quotes")
        if len(value) > LONGEST_CHARACTERS:
            raise ValueError(f"has {len(value)} characters, of at most {LONGEST_CHARACTERS}")
        return read(value)
    except ValueError as error:
        raise AnnotationsError([f"{name}: {error}"]) from error


def _with_limits(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A limit below its request is an error if it was asked for; a default one follows the request."""
    raised, errors = {}, []
    for resource, units in (("cpu", _CPU_UNITS), ("memory", _MEMORY_UNITS)):
        request, limit = getattr(settings, f"{resource}_request"), getattr(settings, f"{resource}_limit")
        if limit is None or quantity(request, units) <= quantity(limit, units):
            continue
        if f"{resource}_limit" not in changes:
            raised[f"{resource}_limit"] = request
        elif f"{resource}_request" not in changes:
            raised[f"{resource}_request"] = limit
        else:
            errors.append(f"{CONFIG_PREFIX}proxy-{resource}-limit: {limit} is below the request, {request}")
    if errors:
        raise AnnotationsError(errors)
    return replace(settings, **raised)


def _of(units: Mapping[str, int | Decimal]) -> Callable[[str], str]:
    def read(text: str) -> str:
        quantity(text, units)
        return text

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text[:60]!r} is none of {', '.join(words)}")
        return text

    return read


def _switch(text: str) -> bool:
    return SWITCH[_one_of(*SWITCH)(text)]


def _duration_s(text: str) -> int:
    found = _DURATION(text)
    seconds = int(found[1]) * (60 if found[2] == "m" else 1) if found else HIGHEST_GRACE_S + 1
    if seconds > HIGHEST_GRACE_S:
        raise ValueError(f"{text[:60]!r} is not a time like 30s or 2m, of at most {HIGHEST_GRACE_S} s")
    return seconds


def _units(units: Mapping[str, Any]) -> str:
    return ", ".join(unit or "none" for unit in units)


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name[:100], ANNOTATIONS, n=1)
    return f"; did you mean {near[0]}?" if near else ""


ANNOTATIONS: Final = {
    CONFIG_PREFIX + name: annotation
    for name, annotation in {
        "skip-inbound-ports": Annotation("skip_inbound_ports", parse_ports, "ports and ranges: `8080,9000-9010`"),
        "skip-outbound-ports": Annotation("skip_outbound_ports", parse_ports, "ports and ranges"),
        "opaque-ports": Annotation("opaque_ports", parse_ports, "ports and ranges"),
        "proxy-image": Annotation("image", image, "an image"),
        "proxy-cpu-request": Annotation("cpu_request", _of(_CPU_UNITS), "cores: `0.5`, `250m`"),
        "proxy-cpu-limit": Annotation("cpu_limit", _of(_CPU_UNITS), "cores"),
        "proxy-memory-request": Annotation("memory_request", _of(_MEMORY_UNITS), "bytes: `64Mi`, `64M`"),
        "proxy-memory-limit": Annotation("memory_limit", _of(_MEMORY_UNITS), "bytes"),
        "log-level": Annotation("log_level", _one_of(*LOG_LEVELS), ", ".join(f"`{word}`" for word in LOG_LEVELS)),
        "access-log": Annotation("access_log", _switch, "`enabled`, `disabled`"),
        "discovery": Annotation("discovery", _one_of("controller", "direct", "none"), "`controller`, `direct`, `none`"),
        "native-sidecar": Annotation("native_sidecar", _switch, "`enabled`, `disabled`"),
        "shutdown-grace-period": Annotation("shutdown_grace_s", _duration_s, "a time: `30s`, `2m`"),
    }.items()
}
"""Every annotation that changes a setting, by its full name."""
