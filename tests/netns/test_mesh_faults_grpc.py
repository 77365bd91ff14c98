"""Faults between a sidecar and its gRPC application: callers see what docs/semantics.md says (sections 2, 4 and 7)."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.netns.faulty import fault_proxy, repair
from tests.netns.mesh import Mesh
from tests.support.fault_proxy import Cut, FaultProxy
from tests.support.process import Process
from tests.support.waiting import wait_until

PORT, BEHIND = 50051, 50052
DEADLINE_S = 40
SOON_S = 20  # far less than the deadline, and long enough for a machine that stands still for a while


class Echo:
    """The echo service of the first server pod, behind `proxy`."""

    def __init__(self, mesh: Mesh, server: Process, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self._server = server
        self._client = mesh.client.pod
        self._target = f"{mesh.pods[0].ipv4}:{PORT}"

    def begin(self, method: str, request: str = "squid", timeout_s: float = DEADLINE_S, **metadata: str) -> Process:
        """A call from the client's pod."""
        fields = [f"{name.replace('_', '-')}={value}" for name, value in metadata.items()]
        module = ("-m", "tests.netns.grpc_call", self._target, method, request, str(timeout_s), *fields)
        return self._client.start(sys.executable, *module)

    def end(self, call: Process) -> dict[str, Any]:
        """What became of it."""
        assert call.wait(timeout_s=DEADLINE_S + SOON_S) == 0, call.stderr()
        return dict(json.loads(call.stdout().splitlines()[-1]))

    def call(self, method: str = "Unary", request: str = "squid", timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        return self.end(self.begin(method, request, timeout_s))

    def wait_until_arrived(self, call_id: str) -> None:
        begun = json.dumps({"call": call_id, "event": "start"}).rstrip("}")
        self._server.wait_until(lambda: begun in self._server.stdout(), f"the call {call_id}")

    def wait_until_answered(self) -> None:
        wait_until(lambda: self.call(timeout_s=10)["code"] == "OK", "an answer", 60, interval_s=0.2)


@pytest.fixture(scope="module")
def server(mesh: Mesh) -> Iterator[Echo]:
    pod = mesh.pods[0]
    process = pod.start_python("tests.support.echo_server", f"127.0.0.1:{BEHIND}", pod.name)
    pod.wait_for_port(BEHIND)
    with fault_proxy(pod, PORT, BEHIND) as proxy:
        yield Echo(mesh, process, proxy)


@pytest.fixture
def echo(server: Echo) -> Iterator[Echo]:
    """Whole before and after each test."""
    server.wait_until_answered()
    yield server
    repair(server.proxy)


def test_latency_makes_a_call_slow_and_nothing_else(echo: Echo) -> None:
    echo.proxy.down.latency_s = 0.4
    told = echo.call()
    assert (told["code"], told["messages"]) == ("OK", 1)
    assert told["took_s"] >= 0.4


def test_a_half_open_peer_costs_no_more_than_the_deadline(echo: Echo) -> None:
    echo.proxy.hold()
    told = echo.call(timeout_s=1)
    assert told["code"] == "DEADLINE_EXCEEDED"
    assert 0.9 < told["took_s"] < SOON_S


@pytest.mark.parametrize("how", Cut)
def test_a_call_whose_connection_is_lost_is_not_repeated(echo: Echo, how: Cut) -> None:
    accepted = echo.proxy.accepted
    call = echo.begin("Unary", sleep_s=str(DEADLINE_S), call_id=how.name)
    echo.wait_until_arrived(how.name)
    echo.proxy.cut(how)
    told = echo.end(call)
    assert (told["code"], told["flag"]) == ("UNAVAILABLE", "upstream_lost")
    assert told["took_s"] < SOON_S
    assert echo.proxy.accepted <= accepted + 2  # the replacement of the connection, and no storm of them


def test_a_stream_that_breaks_between_messages_ends_with_a_status(echo: Echo) -> None:
    call = echo.begin("Chat")
    call.wait_until(lambda: call.stdout(), "the first message")
    echo.proxy.cut(Cut.RST)
    told = echo.end(call)
    assert (told["code"], told["flag"], told["messages"]) == ("UNAVAILABLE", "upstream_lost", 1)


@pytest.mark.parametrize("how", Cut)
def test_a_message_that_breaks_off_is_never_taken_for_a_whole_one(echo: Echo, how: Cut) -> None:
    echo.proxy.down.cut_after(300_000, how)
    told = echo.call("Expand", "1 1000000")
    assert told["messages"] == 0
    assert told["code"] in ("INTERNAL", "UNAVAILABLE")


def test_an_application_that_is_not_there_is_told_at_once(echo: Echo) -> None:
    echo.proxy.refuse()
    echo.proxy.cut(Cut.FIN)
    told = echo.call()
    assert (told["code"], told["flag"]) == ("UNAVAILABLE", "refused")
    assert told["took_s"] < SOON_S
    echo.proxy.accept()
    echo.wait_until_answered()


def test_a_black_hole_is_told_in_bounded_time(echo: Echo) -> None:
    """It accepts connections and says nothing: there are no SETTINGS within the time to connect."""
    echo.proxy.mute()
    echo.proxy.cut(Cut.RST)
    told = echo.call()
    assert (told["code"], told["flag"]) == ("UNAVAILABLE", "refused")
    assert told["took_s"] < SOON_S
    echo.proxy.unmute()
    echo.proxy.cut(Cut.RST)
    echo.wait_until_answered()
