"""The compiled data plane: everything that happens per call. See docs/life-of-a-call.md.

Imports nothing of ours; reads no files, logs nothing, discovers nothing. From asyncio it needs a transport to write to
and `call_later`.
"""

from proxy.dataplane.call import Dial
from proxy.dataplane.cluster import BALANCERS, Cluster
from proxy.dataplane.downstream import DownstreamSession
from proxy.dataplane.endpoint import Endpoint
from proxy.dataplane.failure import FLAGS
from proxy.dataplane.http1downstream import Http1Downstream
from proxy.dataplane.http1upstream import Http1Upstream
from proxy.dataplane.plane import DataPlane, Limits
from proxy.dataplane.relay import Relay, RelayEnd
from proxy.dataplane.route import Origin, Router
from proxy.dataplane.session import libnghttp2_version
from proxy.dataplane.stats import BUCKETS_S, CallStats
from proxy.dataplane.upstream import UpstreamSession

__all__ = [
    "BALANCERS",
    "BUCKETS_S",
    "FLAGS",
    "CallStats",
    "Cluster",
    "DataPlane",
    "Dial",
    "DownstreamSession",
    "Endpoint",
    "Http1Downstream",
    "Http1Upstream",
    "Limits",
    "Origin",
    "Relay",
    "RelayEnd",
    "Router",
    "UpstreamSession",
    "libnghttp2_version",
]
