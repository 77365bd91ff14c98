"""What each path of the admin server answers."""

import asyncio
import json
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.server import is_local
from tests.unit.admin.stage import Source, answers, ask, large_plane, serving


def test_live(run):
    async def scenario():
        async with serving(Source()) as server:
            answer = await ask(server, "/live")
            assert (answer.status, answer.text) == (200, "live\n")
            assert answer.fields["content-type"] == "text/plain; charset=utf-8"
            assert "date" in answer.fields

    run(scenario())


def test_ready_says_why_not(run):
    async def scenario():
        source = Source(is_ready=False)
        async with serving(source) as server:
            answer = await ask(server, "/ready")
            assert (answer.status, answer.text) == (503, "no endpoints yet for voting\n")
            source.is_ready = True
            assert (await ask(server, "/ready?verbose")).status == 200

    run(scenario())


def test_root_lists_every_path(run):
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as application:
            port = application.getsockname()[1]
            async with serving(Source(), probe_ports=(port,)) as server:
                listed = [line.split()[:2] for line in (await ask(server, "/")).text.splitlines()]
                for method, path in listed:
                    assert (await ask(server, path.replace("PORT", str(port)), method)).status == 200
        assert {path for _, path in listed} == {
            "/metrics",
            "/live",
            "/ready",
            "/endpoints",
            "/config",
            "/probe/tcp/PORT",
            "/shutdown",
        }

    run(scenario())


def test_endpoints(run):
    async def scenario():
        async with serving(Source()) as server:
            answer = await ask(server, "/endpoints")
            assert answer.fields["content-type"] == "application/json"
            shown = json.loads(answer.body)
            assert {key: (one["name"], one["protocol"]) for key, one in shown.items()} == {
                "voting": ("voting", "http2"),
                "emoji": ("emoji", "http2"),
                "web http1": ("web", "http1"),
                "database tcp": ("database", "tcp"),
            }
            assert shown["emoji"] == {
                "name": "emoji",
                "protocol": "http2",
                "balancer": "round_robin",
                "pending": 0,
                "failfast": True,
                "update_age_s": None,
                "endpoints": [],
            }
            assert shown["voting"]["update_age_s"] == 60
            assert shown["voting"]["endpoints"][1] == {
                "address": "10.0.0.2:8080",
                "pod": "voting-2",
                "uid": "b",
                "weight": 3,
                "state": "backoff",
                "ewma_ms": 500,
                "in_flight": 0,
                "connections": 0,
                "connect_failures": 4,
                "calls": 3,
                "failures": 0,
            }

    run(scenario())


def test_config(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            assert json.loads((await ask(server, "/config")).body) == source.config()

    run(scenario())


def test_metrics_in_the_format_asked_for(run):
    async def scenario():
        async with serving(Source()) as server:
            plain = await ask(server, "/metrics")
            assert plain.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            names = {family.name for family in text_string_to_metric_families(plain.text)}
            assert "meshctl_request" in names
            openmetrics = await ask(server, "/metrics", "GET", "Accept: application/openmetrics-text")
            assert openmetrics.fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
            assert openmetrics.text.endswith("# EOF\n")

    run(scenario())


def test_shutdown_answers_first(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            answer = await ask(server, "/shutdown", "POST", "Content-Length: 0")
            assert (answer.status, answer.text) == (200, "draining\n")
            assert source.shutdowns == 1

    run(scenario())


def test_shutdown_only_by_post_and_never_from_a_web_page(run):
    async def scenario():
        source = Source()
        async with serving(source) as server:
            wrong_method = await ask(server, "/shutdown")
            assert (wrong_method.status, wrong_method.fields["allow"]) == (405, "POST")
            assert (await ask(server, "/shutdown", "POST", "Origin: http://evil.example")).status == 403
            assert source.shutdowns == 0

    run(scenario())


def test_shutdown_is_refused_from_afar(run):
    async def scenario():
        source = Source()
        async with serving(source, host="0.0.0.0") as server:
            port = server.address.rpartition(":")[2]
            assert (await ask_at(own_address(), port, "GET", "/live")).status == 200
            refused = await ask_at(own_address(), port, "POST", "/shutdown")
            assert (refused.status, refused.text) == (403, "over loopback only\n")
            assert source.shutdowns == 0
            assert (await ask_at("127.0.0.1", port, "POST", "/shutdown")).status == 200

    run(scenario())


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.127.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_what_counts_as_loopback(host, local):
    assert is_local((host, 1)) is local
    assert not is_local(None)


async def ask_at(host, port, method, path):
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    received = await reader.read()
    writer.close()
    return answers(received)[0]


def own_address():
    """An address of this host that is not on loopback. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has loopback only")
        return sock.getsockname()[0]


def test_unknown_paths_and_methods(run):
    async def scenario():
        async with serving(Source()) as server:
            assert (await ask(server, "/nothing")).status == 404
            assert (await ask(server, "/live/")).status == 404
            answer = await ask(server, "/live", "DELETE")
            assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")

    run(scenario())


@pytest.mark.parametrize("path", ["/live", "/metrics"])
def test_head_is_get_without_the_body(run, path):
    async def scenario():
        async with serving(Source(large_plane())) as server:
            head = await ask(server, path, "HEAD")
            get = await ask(server, path)
            assert (head.status, head.body) == (200, b"")
            framing = ("content-length", "transfer-encoding", "content-type")
            assert [head.fields.get(name) for name in framing] == [get.fields.get(name) for name in framing]

    run(scenario())


def test_a_fault_is_an_answer(run, caplog):
    async def scenario():
        source = Source(fault=RuntimeError("the reason"))
        async with serving(source) as server:
            answer = await ask(server, "/config")
            assert (answer.status, answer.text) == (500, "fault in the admin server\n")
            assert (await ask(server, "/live")).status == 200

    run(scenario())
    assert "the reason" in caplog.text
