"""What sidecar and controller say to each other: EDS v3, state of the world.

Each request has all the names that are wanted; each response the assignments of some of them, those that are new or
changed, and in `resource_errors` those that the controller knows nothing of (gRFC A88). A response is acknowledged
by a request with its version and nonce, and refused by one with its nonce and the last good version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.message import DecodeError

from proxy.address import ip_address
from proxy.discovery import EndpointAddress
from proxy.discovery.controller.eds_pb2 import ClusterLoadAssignment, DiscoveryRequest, DiscoveryResponse, LbEndpoint
from proxy.discovery.directory import Answer

METHOD: Final = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"
TYPE: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
METADATA: Final = "meshctl.io"
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
MAX_WEIGHT: Final = 1000
PROTOCOLS: Final = frozenset(("http2", "http1", "tcp", "detect"))


class UnusableResponseError(Exception):
    """A response that cannot be what the controller means; the message says why."""


def first_request(pod: str, namespace: str, zone: str, version: str) -> DiscoveryRequest:
    """A stream's first request, which says who asks; names are still to be put in."""
    request = DiscoveryRequest(type_url=TYPE)
    request.node.id = f"{pod}.{namespace}"
    request.node.metadata["namespace"] = namespace
    request.node.locality.zone = zone
    request.node.user_agent_name = "meshctl"
    request.node.user_agent_version = version
    return request


def answers(response: DiscoveryResponse) -> Iterator[tuple[str, Answer | None]]:
    """What a response says of each name. Raises UnusableResponseError, with nothing yielded of a broken part."""
    for resource in response.resources:
        if resource.type_url != TYPE:
            raise UnusableResponseError(f"a resource of type {resource.type_url[:100]!r}")
        try:
            assignment = ClusterLoadAssignment.FromString(resource.value)
        except DecodeError as error:
            raise UnusableResponseError(f"a resource that is no ClusterLoadAssignment: {error}") from error
        yield assignment.cluster_name, _answer(assignment)
    for missing in response.resource_errors:
        if missing.error_detail.code in (NOT_FOUND, INVALID_ARGUMENT):
            yield missing.resource_name.name, None


def _answer(assignment: ClusterLoadAssignment) -> Answer:
    found = [endpoint for group in assignment.endpoints for endpoint in group.lb_endpoints]
    return Answer(tuple(map(_endpoint, found)), _protocol(found))


def _endpoint(item: LbEndpoint) -> EndpointAddress:
    place = item.endpoint.address.socket_address
    host = ip_address(place.address)
    if host is None or not 1 <= place.port_value <= 65_535:
        raise UnusableResponseError(f"an endpoint at {place.address[:100]!r}, port {place.port_value}")
    weight = min(max(item.load_balancing_weight.value, 1), MAX_WEIGHT) if item.HasField("load_balancing_weight") else 1
    return EndpointAddress(host, place.port_value, weight, item.endpoint.hostname, _said(item, "uid"))


def _protocol(found: Iterable[LbEndpoint]) -> str:
    """What all of a service's endpoints speak, as the first one says."""
    said = next((text for item in found if (text := _said(item, "protocol"))), "detect")
    return said if said in PROTOCOLS else "detect"


def _said(item: LbEndpoint, name: str) -> str:
    if METADATA not in item.metadata.filter_metadata:
        return ""
    return item.metadata.filter_metadata[METADATA].fields[name].string_value
