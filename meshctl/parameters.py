"""Types of parameters: a value that cannot be meant is refused as wrong usage, before anything is asked or run.

Names of namespaces and pods become parts of paths at the API server, so they are what Kubernetes lets them be.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import click

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123
_is_namespace: Final = re.compile(_LABEL).fullmatch
_is_pod: Final = re.compile(rf"(?:{_LABEL}/)?(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*").fullmatch


class Namespace(click.ParamType[str]):
    """A namespace's name."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _is_namespace(value):
            self.fail(f"{value!r} is not a namespace's name, such as shop", param, ctx)
        return str(value)


class Pod(click.ParamType[str]):
    """ "pod" or "namespace/pod"."""

    name = "pod"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _is_pod(value):
            self.fail(f"{value!r} is not a pod's name, such as web-5d4f-x2x9q or shop/web-5d4f-x2x9q", param, ctx)
        return str(value)


class Seconds(click.FloatRange):
    """A finite time: who waits for nan seconds waits for ever."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds
