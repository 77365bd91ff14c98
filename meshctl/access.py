"""Which cluster is meant, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANSWER_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """None means what kubectl would take. `timeout_s` is how long one answer may take."""

    kubeconfig: str | None = None
    context: str | None = None
    timeout_s: float = ANSWER_S
