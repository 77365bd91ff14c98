"""Checks of what Services say of their ports."""

from typing import Any

import pytest

from meshctl.check.services import SERVICES
from tests.unit.check.facts import only, problems, well

(PROTOCOLS,) = (check.find for check in SERVICES)


def service(namespace: str = "shop", opaque: str = "", **port: Any) -> dict[str, Any]:
    annotations = {"config.meshctl.io/opaque-ports": opaque} if opaque else {}
    metadata = {"name": "web", "namespace": namespace, "annotations": annotations}
    return {"metadata": metadata, "spec": {"ports": [{"port": 80, **port}]}}


@pytest.mark.parametrize(
    "given",
    [
        service(),
        service(name="grpc"),
        service(name="grpc-api", appProtocol="grpc"),
        service(name="http", appProtocol="grpc"),
        service(name="h2c", appProtocol="kubernetes.io/h2c"),
        service(name="grpc", appProtocol="https"),
        service(name="grpcish", appProtocol="tcp"),
        service(name="grpc", appProtocol="tcp", protocol="UDP"),
        service(opaque="80", name="db", appProtocol="tcp"),
        service(opaque="81", appProtocol="grpc"),
        service("kube-system", name="grpc", appProtocol="tcp"),
    ],
)
def test_ports_that_contradict_nothing(given: dict[str, Any]) -> None:
    assert problems(PROTOCOLS, well(services=[given])) == []


@pytest.mark.parametrize(
    ("given", "what", "hint"),
    [
        (
            service(name="grpc", appProtocol="tcp"),
            "is called grpc and has appProtocol tcp: it is taken for TCP",
            "same",
        ),
        (service(name="tcp-db", appProtocol="http"), "is called tcp-db and has appProtocol http", "same"),
        (service(name="grpc", appProtocol="http"), "it is taken for HTTP/1.x", "same"),
        (service(opaque="25,80-90", appProtocol="grpc"), "is opaque by its annotation", "take it out"),
        (service(appProtocol="gRPC"), "has appProtocol gRPC, which is not known", "write grpc"),
    ],
)
def test_ports_that_contradict_themselves(given: dict[str, Any], what: str, hint: str) -> None:
    problem = only(PROTOCOLS, well(services=[given]))
    assert problem.warning
    assert problem.what.startswith("port 80 of service shop/web ")
    assert what in problem.what
    assert hint in problem.hint
    assert problem.hint.endswith("kubectl edit service -n shop web")
