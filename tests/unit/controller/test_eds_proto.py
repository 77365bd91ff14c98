"""What a sidecar uses of the xDS API is a part of it: the published packages have each field, as it is here."""

import pytest
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from proxy.discovery.controller import eds_pb2

THEIRS: dict[str, type[Message]] = {
    "Status": status_pb2.Status,
    "Locality": base_pb2.Locality,
    "Node": base_pb2.Node,
    "DiscoveryRequest": discovery_pb2.DiscoveryRequest,
    "ResourceName": discovery_pb2.ResourceName,
    "ResourceError": discovery_pb2.ResourceError,
    "DiscoveryResponse": discovery_pb2.DiscoveryResponse,
    "SocketAddress": address_pb2.SocketAddress,
    "Address": address_pb2.Address,
    "Metadata": base_pb2.Metadata,
    "Endpoint": endpoint_components_pb2.Endpoint,
    "LbEndpoint": endpoint_components_pb2.LbEndpoint,
    "LocalityLbEndpoints": endpoint_components_pb2.LocalityLbEndpoints,
    "ClusterLoadAssignment": endpoint_pb2.ClusterLoadAssignment,
}


def test_every_message_is_compared() -> None:
    assert set(eds_pb2.DESCRIPTOR.message_types_by_name) == set(THEIRS)


@pytest.mark.parametrize("name", THEIRS)
def test_each_field_is_theirs(name: str) -> None:
    theirs = THEIRS[name].DESCRIPTOR.fields_by_number
    for ours in eds_pb2.DESCRIPTOR.message_types_by_name[name].fields:
        their = theirs[ours.number]
        assert (ours.name, ours.type, ours.is_repeated) == (their.name, their.type, their.is_repeated)
        if ours.message_type is not None and not ours.message_type.GetOptions().map_entry:
            here, there = ours.message_type, their.message_type
            assert here.full_name == there.full_name or THEIRS[here.name].DESCRIPTOR is there
