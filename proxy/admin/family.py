"""One metric: what describes it, and how its rows are read.

The families themselves are in `call_families`, `tcp_families`, `endpoint_families` and `proxy_families`: each lists
some as rows over figures that are kept elsewhere. Nothing in them is touched per call, and nothing keeps a number.
`docs/metrics.md` describes the same list, and a test compares them. They know nothing of how the rows are written
(`exposition`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from proxy.admin.source import Histogram

Labels = tuple[str, ...]
Value = float | Histogram
Rows = Callable[[], Iterable[tuple[Labels, Value]]]
Kind = Literal["counter", "gauge", "histogram", "info"]

SUFFIXES: dict[Kind, str] = {"counter": "_total", "gauge": "", "histogram": "", "info": "_info"}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without the suffix that its samples carry (`_total`, `_info`).

    `labels` are in alphabetical order, the order they are written in. `rows` reads the numbers when it is
    iterated, each row at its turn; label values are in the order of `labels`. The value is a Histogram if
    that is the kind, a number otherwise.
    """

    name: str
    kind: Kind
    labels: Labels
    help: str
    rows: Rows
    unit: str = ""

    @property
    def sample_name(self) -> str:
        return self.name + SUFFIXES[self.kind]
