"""Who has streams open, by the address that they come from, and what one address may have at a time.

A sidecar has one stream, and all pods on a node may come from one address where the network translates it. So an
address may have as many streams as a large node has pods, and no more: whoever opens others takes nothing from those at
other addresses.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from injector.endpoints.messages import LONGEST_NAME
from injector.endpoints.request import EndedError


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """What one address may have at a time: `streams`, and `names` in all of them together."""

    streams: int = 500
    names: int = 50_000


class Peer:
    """One address."""

    def __init__(self, address: str, limits: PeerLimits) -> None:
        self._limits = limits
        self.address = address
        self.streams = 0
        self.names = 0

    def take(self, name: str) -> None:
        """One of its streams wants this name. Raises EndedError if it is one too many."""
        if self.names >= self._limits.names:
            text = f"{self._limits.names} names are the most that {self.address} may want in all its streams"
            raise EndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_peer_names", text)
        self.names += _cost(name)

    def give_back(self, name: str) -> None:
        """It does not want it any more."""
        self.names -= _cost(name)


class Peers:
    """All addresses that have streams."""

    def __init__(self, limits: PeerLimits) -> None:
        self._limits = limits
        self._known: dict[str, Peer] = {}

    def enter(self, name: str) -> Peer:
        """A stream begins; `name` is gRPC's for the peer, "ipv4:10.0.0.1:4711". Raises EndedError."""
        address = name.rpartition(":")[0].partition(":")[2] or name
        peer = self._known.get(address) or Peer(address, self._limits)
        if peer.streams >= self._limits.streams:
            text = f"{address} has {self._limits.streams} streams already"
            raise EndedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too_many_peer_streams", text)
        self._known[address] = peer
        peer.streams += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """A stream has ended."""
        peer.streams -= 1
        if not peer.streams:
            del self._known[peer.address]


def _cost(name: str) -> int:
    """What is longer than any name counts as several: it is kept as it is said."""
    return 1 + len(name) // (LONGEST_NAME + 1)
