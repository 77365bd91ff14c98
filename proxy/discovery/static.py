"""Endpoints that stand in the configuration file.

They change only when the file does; then the cluster gets a new resolver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from proxy.config import StaticConfig
from proxy.discovery import EndpointAddress, EndpointUpdate, Reset


class StaticResolver:
    """Yields one `Reset`, then nothing more."""

    def __init__(self, config: StaticConfig) -> None:
        self._endpoints = tuple(
            EndpointAddress(item.address.host, item.address.port, item.weight, item.pod) for item in config.endpoints
        )

    async def updates(self) -> AsyncGenerator[EndpointUpdate, None]:
        yield Reset(self._endpoints)
        await asyncio.get_running_loop().create_future()
