"""What the admin side reads, as structural types: figures of the data plane and the listeners, the proxy's state.

Owns only names and their meaning. The data plane is compiled and imports nothing of ours, and the wiring is
`proxy.app`'s; neither has to inherit from anything here. All of it is read on the event loop's thread,
between two of its turns, so what is read without an `await` in between belongs together.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Histogram(Protocol):
    """Durations by bucket. Not cumulative: `counts[i]` fell into bucket i, the last one above all bounds."""

    @property
    def counts(self) -> Sequence[int]: ...
    @property
    def sum(self) -> float:
        """Of all durations, in seconds."""
        ...


class CallStats(Protocol):
    """The calls of one (authority, cluster, endpoint, method) since the start.

    A TCP connection is a call too: its authority is the TLS server name, its headers are there when the endpoint is
    connected to.
    """

    @property
    def authority(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def protocol(self) -> str:
        """ "http2", "http1" or "tcp"."""
        ...

    @property
    def endpoint(self) -> str:
        """ "ip:port"; empty for calls that never got an endpoint."""
        ...

    @property
    def pod(self) -> str: ...
    @property
    def method(self) -> str:
        """ "package.Service/Method"; empty when not gRPC, "other" beyond the bound on distinct methods."""
        ...

    @property
    def started(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def headers_s(self) -> Histogram: ...
    @property
    def end_s(self) -> Histogram: ...
    @property
    def request_messages(self) -> int: ...
    @property
    def request_bytes(self) -> int: ...
    @property
    def response_messages(self) -> int: ...
    @property
    def response_bytes(self) -> int: ...
    def responses(self) -> Sequence[tuple[str, int, int, str, int]]:
        """(classification, HTTP status, grpc-status or -1, flag or "", number of calls)."""
        ...


class Endpoint(Protocol):
    """One pod of a cluster, as the balancer sees it now."""

    @property
    def address(self) -> str: ...
    @property
    def pod(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def state(self) -> str:
        """ "connecting", "ready", "backoff" or "draining"."""
        ...

    @property
    def ewma_s(self) -> float: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def connect_failures(self) -> int: ...
    @property
    def calls(self) -> int: ...
    @property
    def failures(self) -> int: ...


class Cluster(Protocol):
    """A named set of endpoints, for callers of one protocol."""

    @property
    def name(self) -> str:
        """That of the configuration: there may be several of one name."""
        ...

    @property
    def protocol(self) -> str:
        """ "http2", "http1" or "tcp"."""
        ...

    @property
    def balancer(self) -> str: ...
    @property
    def pending(self) -> int: ...
    @property
    def failfast(self) -> bool: ...
    @property
    def endpoints(self) -> Sequence[Endpoint]: ...
    @property
    def updated_at_s(self) -> float:
        """On the clock of `Plane.now_s`; nan before the first update."""
        ...


class Plane(Protocol):
    """The data plane's figures."""

    @property
    def clusters(self) -> Mapping[str, Cluster]:
        """By a key that is unique, unlike their names."""
        ...

    @property
    def downstream_connections(self) -> int: ...
    @property
    def cuts(self) -> Mapping[str, int]:
        """Downstream connections cut by the proxy, by reason."""
        ...

    @property
    def faults(self) -> int: ...
    def call_stats(self) -> Sequence[CallStats]: ...
    def now_s(self) -> float: ...


class Discovery(Protocol):
    """What is known of names that are looked up as they are called."""

    @property
    def connected(self) -> bool: ...
    @property
    def timeouts(self) -> int: ...
    @property
    def unasked(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def counts(self) -> Mapping[str, int]:
        """Names by state: "known", "unknown", "unanswered"."""
        ...


class Intake(Protocol):
    """What one listener did with connections before they were handed to the data plane."""

    @property
    def found(self) -> Mapping[str, int]:
        """Connections by protocol: "http2", "http1", "tls", "tcp", or "none" if they ended before it was known."""
        ...

    @property
    def timeouts(self) -> int: ...
    @property
    def refused(self) -> Mapping[str, int]:
        """Connections that were closed at once, by reason."""
        ...


class AdminSource(Protocol):
    """The running proxy, as far as the admin server asks about it."""

    @property
    def plane(self) -> Plane: ...
    def config(self) -> Mapping[str, Any]:
        """The configuration in force, made of what JSON can say."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether calls are welcome, and in one line why not."""
        ...

    def shutdown(self) -> None:
        """Starts the drain, as SIGTERM does, and returns at once."""
        ...
