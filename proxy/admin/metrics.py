"""The metrics: all families of one scrape (see `family`), over figures that the data plane and the listeners keep.

Counts the one thing that neither knows, configuration reloads. It knows nothing of text or HTTP.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.admin.call_families import call_families
from proxy.admin.endpoint_families import cluster_families, endpoint_families
from proxy.admin.family import Family
from proxy.admin.process_families import process_families
from proxy.admin.proxy_families import discovery_families, downstream_families, intake_families
from proxy.admin.source import Discovery, Intake, Plane
from proxy.admin.tcp_families import tcp_families


@dataclass(frozen=True, slots=True)
class Build:
    """What is running. `nghttp2` is the version of the library that was loaded."""

    version: str
    nghttp2: str
    python: str = ".".join(map(str, sys.version_info[:3]))


class PlaneCollector:
    """Reads the data plane and the listeners' intakes at each scrape.

    `intakes` are by the listener's name; more may come. `buckets_s` are the upper bounds of the data plane's
    histograms, in seconds, rising.
    """

    def __init__(
        self,
        plane: Plane,
        intakes: Mapping[str, Intake],
        buckets_s: Sequence[float],
        build: Build,
        discovery: Discovery | None = None,
    ) -> None:
        self.buckets_s = tuple(map(float, buckets_s))
        self._plane = plane
        self._intakes = intakes
        self._build = build
        self._discovery = discovery
        self._reloads = {"success": 0, "failure": 0}

    def count_reload(self, result: Literal["success", "failure"]) -> None:
        """Counts a changed configuration: applied, or refused."""
        self._reloads[result] += 1

    def families(self) -> list[Family]:
        """The families of one scrape, over the call statistics and endpoints that there are now."""
        build = (self._build.nghttp2, self._build.python, self._build.version)
        stats = self._plane.call_stats()
        return [
            *call_families(each for each in stats if each.protocol != "tcp"),
            *tcp_families(each for each in stats if each.protocol == "tcp"),
            *endpoint_families(self._plane),
            *cluster_families(self._plane),
            *downstream_families(self._plane),
            *intake_families(self._intakes),
            *discovery_families(self._discovery),
            Family(
                "meshctl_config_reloads",
                "counter",
                ("result",),
                "Changed configurations that were read.",
                lambda: [((result,), count) for result, count in self._reloads.items()],
            ),
            Family(
                "meshctl_build",
                "info",
                ("nghttp2", "python", "version"),
                "The running version, and those of Python and libnghttp2.",
                lambda: [(build, 1)],
            ),
            *process_families(),
        ]


def bucket_bounds(buckets_s: Sequence[float]) -> list[str]:
    """The values of the label `le`: "0.00025" and so on, "+Inf" last."""
    return [*map(repr, buckets_s), "+Inf"]
