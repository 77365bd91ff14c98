"""A changed configuration under load: applied without a failed call, or refused whole when it is wrong."""

import json
import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.conftest import Stage, echo_config
from tests.support.echo import EchoClient, Load
from tests.support.ports import accepts, free_address
from tests.support.process import ProxyProcess

# The calls of a load that may be running, each of its threads one, and be answered by an endpoint that is removed.
RUNNING = 6

Change = Callable[..., None]


@pytest.fixture(params=["file", "SIGHUP"])
def change(request: pytest.FixtureRequest, stage: Stage) -> Change:
    """Makes the endpoints those at the given addresses, and returns when the proxy has noticed."""
    proxy, way = stage.proxy, request.param

    def apply(*addresses: str) -> None:
        proxy.configure(echo_config(*addresses))
        if way == "SIGHUP":
            proxy.signal(signal.SIGHUP)
        proxy.wait_until(lambda: shown(proxy) == set(addresses), "the new endpoints")

    return apply


def shown(proxy: ProxyProcess) -> set[str]:
    """The endpoints that take calls now."""
    endpoints = proxy.endpoints()["echo"]["endpoints"]
    return {endpoint["address"] for endpoint in endpoints if endpoint["state"] == "ready"}


def test_endpoints_come_and_go_without_a_failed_call(stage: Stage, change: Change) -> None:
    a, b, c = (server.address for server in stage.servers)
    with Load(stage.address) as load:
        change(a, b)
        load.wait_for_answers(50)
        calls_of_c = load.answered_by["c"]
        load.wait_for_answers(300)
        assert load.answered_by["c"] <= calls_of_c + RUNNING, "a call went to an endpoint that was removed"
        change(b, c)
        load.wait_for_answers(50, server="c")
        change(a, b, c)
        load.wait_for_answers(50, server="a")
    assert load.failures == []
    assert stage.proxy.metric("meshctl_config_reloads_total", result="success") >= 3
    assert stage.proxy.metric("meshctl_config_reloads_total", result="failure") == 0


def test_one_change_is_applied_once_whichever_way_it_is_noticed_first(stage: Stage, change: Change) -> None:
    change(stage.servers[0].address)
    time.sleep(0.2)  # both may have noticed it at the same moment
    applied = stage.proxy.metric("meshctl_config_reloads_total", result="success")
    assert applied in (1, 2)
    time.sleep(2.2)  # the file is looked at twice more
    assert stage.proxy.metric("meshctl_config_reloads_total", result="success") == applied


def test_sighup_has_the_file_read_also_when_nothing_shows_that_it_changed(stage: Stage) -> None:
    """The file itself is looked at every second, and read when it is another."""
    stage.proxy.signal(signal.SIGHUP)
    stage.proxy.wait_until(lambda: stage.proxy.metric("meshctl_config_reloads_total", result="success") == 1, "read")


def test_an_endpoint_that_stays_keeps_its_connection_and_its_history(stage: Stage, change: Change) -> None:
    a, b, _ = (server.address for server in stage.servers)
    with EchoClient(stage.address) as client:
        for _ in range(30):
            client.unary(b"")
    before = {one["address"]: one for one in stage.proxy.endpoints()["echo"]["endpoints"]}
    change(a, b)
    after = {one["address"]: one for one in stage.proxy.endpoints()["echo"]["endpoints"]}
    for address in (a, b):
        assert after[address]["calls"] == before[address]["calls"] > 0
        assert after[address]["connections"] == 1


def test_a_running_stream_survives_the_removal_of_its_endpoint(stage: Stage, change: Change) -> None:
    a, b, c = (server.address for server in stage.servers)
    change(c)
    with EchoClient(stage.address) as client:
        call = client.chat(iter([b"begun"]), metadata=[("sleep-s", "1")], timeout=30)
        time.sleep(0.2)
        change(a, b)
        assert list(call) == [b"begun", b"end"]


def test_a_wrong_file_is_refused_with_every_error_and_the_old_configuration_stays(stage: Stage) -> None:
    proxy = stage.proxy
    before = json.loads(proxy.get("/config")[1])
    wrong = echo_config(stage.servers[0].address)
    wrong["clusters"][0]["balancer"] = "best"
    wrong["routes"] = [{"cluster": "echo", "timeout_s": -1}, {"cluster": "nowhere"}]
    with Load(stage.address) as load:
        proxy.configure(wrong)
        proxy.signal(signal.SIGHUP)
        paths = ("clusters[0].balancer", "routes[0].timeout_s", "routes[1].cluster")
        proxy.wait_until(lambda: all(path in proxy.stderr() for path in paths), "all errors named")
        load.wait_for_answers(200)
        assert set(load.answered_by) == {"a", "b", "c"}
    assert load.failures == []
    assert json.loads(proxy.get("/config")[1]) == before
    assert proxy.metric("meshctl_config_reloads_total", result="failure") >= 1  # 2 if its time and SIGHUP met
    assert proxy.metric("meshctl_config_reloads_total", result="success") == 0


@pytest.mark.parametrize("text", ["", "listeners: [", "\x00", "just words"])
def test_a_file_that_is_not_a_configuration_is_refused(stage: Stage, text: str) -> None:
    stage.proxy.write_config(text)
    stage.proxy.signal(signal.SIGHUP)
    stage.proxy.wait_until(lambda: stage.proxy.metric("meshctl_config_reloads_total", result="failure") >= 1, "refused")
    with EchoClient(stage.address) as client:
        assert client.unary(b"still here", timeout=30) == b"still here"


def test_a_listener_comes_and_goes_and_the_other_loses_no_call(stage: Stage) -> None:
    addresses = [server.address for server in stage.servers]
    one = echo_config(*addresses)
    two = echo_config(*addresses)
    second = free_address()
    two["listeners"].append({"name": "second", "address": second})
    with Load(stage.address) as load:
        stage.proxy.configure(two)
        stage.proxy.signal(signal.SIGHUP)
        stage.proxy.wait_for_port(second)
        with EchoClient(second) as client:
            assert client.unary(b"through the second", timeout=30) == b"through the second"
        stage.proxy.configure(one)
        stage.proxy.signal(signal.SIGHUP)
        stage.proxy.wait_until(lambda: not accepts(second), "the second listener gone")
        load.wait_for_answers(50)
    assert load.failures == []
