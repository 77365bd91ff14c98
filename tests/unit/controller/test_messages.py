"""What a sidecar reads in a response of the controller."""

import pytest

from proxy.discovery import EndpointAddress
from proxy.discovery.controller.eds_pb2 import ClusterLoadAssignment, DiscoveryResponse
from proxy.discovery.controller.messages import TYPE, UnusableResponseError, answers, first_request
from proxy.discovery.directory import Answer


def response(*assignments: ClusterLoadAssignment) -> DiscoveryResponse:
    made = DiscoveryResponse()
    for assignment in assignments:
        made.resources.add(type_url=TYPE, value=assignment.SerializeToString())
    return made


def assignment(
    host: str = "10.0.0.1", port: int = 8080, weight: int | None = None, **said: str
) -> ClusterLoadAssignment:
    made = ClusterLoadAssignment(cluster_name="voting:8080")
    item = made.endpoints.add().lb_endpoints.add()
    item.endpoint.address.socket_address.address = host
    item.endpoint.address.socket_address.port_value = port
    item.endpoint.hostname = "voting-1"
    if weight is not None:
        item.load_balancing_weight.value = weight
    for name, value in said.items():
        item.metadata.filter_metadata["meshctl.io"][name] = value
    return made


def read(message: DiscoveryResponse) -> dict[str, Answer | None]:
    return dict(answers(message))


def test_an_assignment() -> None:
    found = read(response(assignment(weight=3, uid="abc", protocol="http2")))
    assert found == {"voting:8080": Answer((EndpointAddress("10.0.0.1", 8080, 3, "voting-1", "abc"),), "http2")}


def test_what_is_not_said_is_the_default() -> None:
    assert read(response(assignment())) == {"voting:8080": Answer((EndpointAddress("10.0.0.1", 8080, 1, "voting-1"),))}


@pytest.mark.parametrize(("said", "used"), [(0, 1), (1, 1), (1000, 1000), (4_000_000_000, 1000)])
def test_a_weight_is_brought_into_bounds(said: int, used: int) -> None:
    (found,) = read(response(assignment(weight=said))).values()
    assert found is not None and found.endpoints[0].weight == used


def test_groups_are_put_together_and_an_unknown_protocol_is_detected() -> None:
    made = assignment(protocol="carrier-pigeon")
    made.endpoints.add(locality={"zone": "b"}).CopyFrom(assignment("fd00::1").endpoints[0])
    (found,) = read(response(made)).values()
    assert found is not None and [each.host for each in found.endpoints] == ["10.0.0.1", "fd00::1"]
    assert found.protocol == "detect"


def test_a_service_without_endpoints_is_there() -> None:
    assert read(response(ClusterLoadAssignment(cluster_name="a:1"))) == {"a:1": Answer(())}


@pytest.mark.parametrize(("code", "known"), [(5, True), (3, True), (14, False)])
def test_an_error_that_says_not_mine(code: int, known: bool) -> None:
    made = DiscoveryResponse()
    made.resource_errors.add(resource_name={"name": "a:1"}, error_detail={"code": code})
    assert read(made) == ({"a:1": None} if known else {})


@pytest.mark.parametrize(("host", "port"), [("voting.example", 80), ("", 80), ("10.0.0.1", 0), ("10.0.0.1", 70_000)])
def test_an_endpoint_that_can_be_none_is_refused(host: str, port: int) -> None:
    with pytest.raises(UnusableResponseError, match="an endpoint at"):
        read(response(assignment(host, port)))


def test_another_type_and_garbage_are_refused() -> None:
    wrong = DiscoveryResponse()
    wrong.resources.add(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster")
    with pytest.raises(UnusableResponseError, match="type"):
        read(wrong)
    garbled = DiscoveryResponse()
    garbled.resources.add(type_url=TYPE, value=b"\xff\xff\xff")
    with pytest.raises(UnusableResponseError, match="no ClusterLoadAssignment"):
        read(garbled)


def test_the_first_request_says_who_asks() -> None:
    request = first_request("web-1", "shop", "eu-1a", "0.1.0")
    assert (request.node.id, request.node.locality.zone, request.type_url) == ("web-1.shop", "eu-1a", TYPE)
    assert request.node.metadata["namespace"] == "shop"
