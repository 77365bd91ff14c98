"""Targets and errors as bytes of a DiscoveryResponse.

Each name's answer is a part by itself, as a response that holds nothing else: protobuf messages that are put together
byte for byte are one message with the elements of both (encoding: "last one wins", and lists are joined). So the
endpoints of a target are serialized once, for all names that lead to it and all sidecars, and a response is a short
head and the parts that are due. Always the same bytes for the same target: two replicas cannot be told apart. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from typing import Final

from envoy.config.endpoint.v3.endpoint_components_pb2 import LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.rpc import code_pb2

from proxy.address import ip_address
from proxy.discovery.kubernetes.catalog import Target
from proxy.discovery.kubernetes.merge import Member

TYPE_URL: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
METADATA: Final = "meshctl.io"
HEALTHY: Final = 1  # envoy.config.core.v3.HealthStatus
KEPT: Final = 16_384  # endpoints, of some 600 bytes each
PARTS_KEPT: Final = 64  # of a few KB most often: one change goes to many sidecars at about the same time
LONGEST_NAME: Final = 253 + len(":65535")  # RFC 1035, section 2.3.4, and a port

_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE).fullmatch


def head(number: int) -> bytes:
    """How the `number`th response of a stream begins; parts follow."""
    response = DiscoveryResponse(version_info=str(number), type_url=TYPE_URL, nonce=str(number))
    return bytes(response.SerializeToString())


@lru_cache(maxsize=PARTS_KEPT)
def part(name: str, endpoints: bytes | None) -> bytes:
    """The answer for `name`, as it was asked for: its `endpoints`, or an error if it is not ours to say (None)."""
    response = DiscoveryResponse()
    if endpoints is not None:
        resource = response.resources.add()
        resource.type_url = TYPE_URL
        resource.value = ClusterLoadAssignment(cluster_name=name).SerializeToString() + endpoints
    else:
        error = response.resource_errors.add()
        error.resource_name.name = name
        if is_authority(name):
            error.error_detail.code, error.error_detail.message = code_pb2.NOT_FOUND, "no Service or pod of the cluster"
        else:
            error.error_detail.code, error.error_detail.message = code_pb2.INVALID_ARGUMENT, "not a host and port"
    return bytes(response.SerializeToString(deterministic=True))


def serialized(target: Target) -> bytes:
    """A ClusterLoadAssignment of all that `target` has, still without a name."""
    assignment = ClusterLoadAssignment()
    by_zone = sorted(target.members, key=lambda member: member.endpoint.zone)  # stable: by address within a zone
    for zone, members in groupby(by_zone, key=lambda member: member.endpoint.zone):
        locality = assignment.endpoints.add()
        locality.MergeFromString(b"".join(_endpoint(member, target.protocol) for member in members))
        locality.locality.zone = zone
    return bytes(assignment.SerializeToString(deterministic=True))


def is_authority(name: str) -> bool:
    """Whether `name` can be a host, with or without a port (RFC 9110, section 7.2), be it ours or not."""
    if len(name) > LONGEST_NAME:
        return False
    host, port = name, "80"
    if ip_address(name.removeprefix("[").removesuffix("]")) is None and ":" in name:
        host, _, port = name.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535):
        return False
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return ip_address(address) is not None or _HOST(host) is not None


@lru_cache(maxsize=KEPT)
def _endpoint(member: Member, protocol: str) -> bytes:
    """A locality that holds nothing else; kept, because most endpoints stay when one comes or goes."""
    locality = LocalityLbEndpoints()
    address, item = member.address, locality.lb_endpoints.add()
    item.health_status = HEALTHY
    item.load_balancing_weight.value = address.weight
    item.endpoint.hostname = address.pod
    place = item.endpoint.address.socket_address
    place.address, place.port_value = address.host, address.port
    fields = item.metadata.filter_metadata[METADATA].fields
    fields["uid"].string_value = address.uid
    fields["protocol"].string_value = protocol
    return bytes(locality.SerializeToString(deterministic=True))
