"""Where names lead, for what is only known once it is called.

A `Directory` is told which names to follow and forget; what it learns of one it tells through the function it was
made with, again at each change: an `Answer`, or None for "not mine", a name of which it knows nothing. A name is an
authority in lower case, as it was called, or an address, "10.96.0.1:80" or "[fd00::1]:80". As long as its source
cannot be reached it says nothing: what it said last still holds.

Knows nothing of connections, balancers or calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.config import DiscoveryConfig, KubernetesConfig
from proxy.discovery import EndpointAddress


@dataclass(frozen=True, slots=True)
class Answer:
    """All endpoints of a name; none is a service that exists and is empty.

    `protocol` is what is said to be spoken there: "http2", "http1", "tcp", or "detect" if nobody said.
    """

    endpoints: tuple[EndpointAddress, ...]
    protocol: str = "detect"


Tell = Callable[[str, Answer | None], None]


class Directory(Protocol):
    """A source of answers."""

    @property
    def connected(self) -> bool:
        """Whether the source can be reached now."""
        ...

    def follow(self, name: str) -> None:
        """Learn where this name leads, and tell, until it is forgotten."""
        ...

    def forget(self, name: str) -> None:
        """Tell no more of it."""
        ...

    async def run(self) -> None:
        """Works until it is cancelled."""
        ...


def make_directory(config: DiscoveryConfig, kubernetes: KubernetesConfig, tell: Tell) -> Directory | None:
    """The directory that a configuration names; None for none."""
    # Each is imported where it is used: the controller's costs a sidecar 5 MB, the API server's 13.
    if config.mode == "controller":
        from proxy.discovery.controller.directory import ControllerDirectory

        assert config.controller is not None, "the configuration was checked"
        return ControllerDirectory(config, kubernetes.zone or "", tell)
    if config.mode == "direct":
        from proxy.discovery.kubernetes.directory import KubernetesDirectory

        return KubernetesDirectory(config, kubernetes, tell)
    return None
