"""What the tests of the controller share."""

from collections.abc import Iterator

import pytest

from tests.support.kubernetes_server import KubernetesServer
from tests.unit.controller.stage import configuration, namespace


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    """An API server with the webhook installed, and two namespaces: shop wants sidecars, plain says nothing."""
    with KubernetesServer() as running:
        running.put(configuration(), namespace("shop", inject="enabled"), namespace("plain"))
        yield running
