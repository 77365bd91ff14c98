"""Types of parameters: a value that cannot be meant is refused as wrong usage, before anything is asked or run.

Names of namespaces and pods become parts of paths at the API server, so they are what Kubernetes lets them be.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import click

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123


class Name(click.ParamType[str]):
    """What all of `pattern` matches; `wanted` says what that is."""

    name = "name"

    def __init__(self, pattern: str, wanted: str) -> None:
        self._is_one = re.compile(pattern).fullmatch
        self._wanted = wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._is_one(value):
            self.fail(f"{value!r} is not {self._wanted}", param, ctx)
        return str(value)


NAMESPACE_NAME: Final = Name(_LABEL, "a namespace's name, such as shop")
POD_NAME: Final = Name(
    rf"(?:{_LABEL}/)?(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*",
    "a pod's name, such as web-5d4f-x2x9q or shop/web-5d4f-x2x9q",
)
"""With or without a namespace before it."""


class Seconds(click.FloatRange):
    """A finite time: who waits for nan seconds waits for ever."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds
