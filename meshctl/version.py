"""Which version of the distribution this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "meshctl-proxy"
FROM_SOURCE = "(not installed, run from its source)"


def own_version() -> str:
    """As "0.1.0"."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return FROM_SOURCE
