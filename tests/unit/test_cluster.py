"""The connection to a cluster: what goes over the wire, and what is told of what goes wrong."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from meshctl.access import Access
from meshctl.cluster import AccessError, Cluster, RefusedError, UnreachableError
from tests.kube.certificates import Authority
from tests.support.ports import free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def kubeconfig(path: Path, server: int | str, namespace: str | None = None, **user: Any) -> str:
    """Writes a kubeconfig with one context, `here`. `server` is a URL, or a port of loopback."""
    url = server if isinstance(server, str) else f"http://127.0.0.1:{server}"
    context = {"cluster": "here", "user": "here", **({"namespace": namespace} if namespace else {})}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": context}],
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "here", "user": {"token": "secret", **user}}],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


@asynccontextmanager
async def connected(tmp_path: Path, answer: Answer, timeout_s: float = 10.0) -> AsyncIterator[Cluster]:
    """A cluster whose API server answers as told."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        file = kubeconfig(tmp_path / "kubeconfig", port)
        async with Cluster(Access(kubeconfig=file, timeout_s=timeout_s)) as cluster:
            yield cluster
    finally:
        await runner.cleanup()


def status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "status": "Failure", "message": message}, status=code)


@pytest.mark.asyncio
async def test_requests_are_what_the_api_wants(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.text()
        seen.append((request.method, str(request.rel_url), request.headers["Content-Type"], body))
        assert request.headers["Authorization"] == "Bearer secret"
        return web.json_response({"kind": "Thing"})

    async with connected(tmp_path, answer) as cluster:
        assert await cluster.get("/version") == {"kind": "Thing"}
        await cluster.create("/api/v1/pods", {"a": 1}, dry_run=True)
        await cluster.apply("/api/v1/pods/x", {"a": 1})
        await cluster.patch("/api/v1/pods/x", {"a": None})
        assert await cluster.delete("/api/v1/pods/x")
        assert json.loads(await cluster.pod_page(("shop", "web"), 4191, "/metrics", {"a": "b c"})) == {"kind": "Thing"}
    assert seen == [
        ("GET", "/version", "application/json", ""),
        ("POST", "/api/v1/pods?dryRun=All", "application/json", '{"a": 1}'),
        ("PATCH", "/api/v1/pods/x?fieldManager=meshctl&force=true", "application/apply-patch+yaml", '{"a": 1}'),
        ("PATCH", "/api/v1/pods/x", "application/merge-patch+json", '{"a": null}'),
        ("DELETE", "/api/v1/pods/x?propagationPolicy=Background", "application/json", ""),
        ("GET", "/api/v1/namespaces/shop/pods/web:4191/proxy/metrics?a=b+c", "application/json", ""),
    ]


@pytest.mark.asyncio
async def test_a_list_is_read_page_by_page(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query["labelSelector"] == "a=b"
        if "continue" not in request.query:
            return web.json_response({"items": [{"n": 1}, {"n": 2}], "metadata": {"continue": "more"}})
        assert request.query["continue"] == "more"
        return web.json_response({"items": None, "metadata": {}})

    async with connected(tmp_path, answer) as cluster:
        assert await cluster.list_all("/api/v1/pods", {"labelSelector": "a=b"}) == [{"n": 1}, {"n": 2}]


@pytest.mark.asyncio
async def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return status(404, 'pods "x" not found')

    async with connected(tmp_path, answer) as cluster:
        assert await cluster.find("/api/v1/namespaces/a/pods/x") is None
        assert not await cluster.delete("/api/v1/namespaces/a/pods/x")
        with pytest.raises(RefusedError, match='pods "x" not found'):
            await cluster.get("/api/v1/namespaces/a/pods/x")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("response", "problem", "hint"),
    [
        (lambda: status(401, "Unauthorized"), "Unauthorized", "log in to the cluster again"),
        (lambda: web.Response(status=401), "401", "log in to the cluster again"),
        (lambda: status(403, "pods is forbidden: User x"), "pods is forbidden: User x", "ask for that permission"),
        (lambda: status(500, "etcd is gone"), "etcd is gone", ""),
    ],
)
async def test_a_refusal_says_what_to_do(
    tmp_path: Path, response: Callable[[], web.Response], problem: str, hint: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return response()

    async with connected(tmp_path, answer) as cluster:
        with pytest.raises(RefusedError, match=problem) as refused:
            await cluster.get("/api/v1/pods")
        assert hint in refused.value.hint
        assert refused.value.by_server


@pytest.mark.asyncio
async def test_what_a_pod_answers_is_told_from_what_the_server_does(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/endpoints"):
            return web.json_response({"error": "no Service"}, status=404)
        return status(503, "error trying to reach service")

    async with connected(tmp_path, answer) as cluster:
        with pytest.raises(RefusedError, match="no Service") as refused:
            await cluster.pod_page(("a", "b"), 9990, "/endpoints")
        assert not refused.value.by_server
        with pytest.raises(RefusedError, match="trying to reach") as refused:
            await cluster.pod_page(("a", "b"), 9990, "/other")
        assert refused.value.by_server


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["<html>login</html>", "[]", ""])
async def test_an_answer_that_is_no_api_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    async with connected(tmp_path, answer) as cluster:
        with pytest.raises(UnreachableError, match="not a Kubernetes API server"):
            await cluster.get("/version")


@pytest.mark.asyncio
async def test_a_server_that_is_silent_is_given_up(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with connected(tmp_path, answer, timeout_s=0.3) as cluster:
        with pytest.raises(UnreachableError, match=r"no answer within 0\.3 s") as unreachable:
            await cluster.get("/version")
        assert "right context" in unreachable.value.hint


@pytest.mark.asyncio
async def test_nobody_listens(tmp_path: Path) -> None:
    async with Cluster(Access(kubeconfig=kubeconfig(tmp_path / "kubeconfig", free_port()))) as cluster:
        with pytest.raises(UnreachableError, match=r"cannot be reached: Connection refused$"):
            await cluster.get("/version")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("server", "why"),
    [("http://127.0.0.1:99999", "that is no URL"), ("http://nowhere.invalid", "Name or service|failure in name")],
)
async def test_a_server_that_cannot_be_is_said_to_be_none(tmp_path: Path, server: str, why: str) -> None:
    async with Cluster(Access(kubeconfig=kubeconfig(tmp_path / "kubeconfig", server))) as cluster:
        with pytest.raises(UnreachableError, match=f"{server} cannot be reached: .*({why})"):
            await cluster.get("/version")


@pytest.mark.asyncio
async def test_a_certificate_that_is_not_trusted_is_said_to_be_the_reason(tmp_path: Path) -> None:
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = Authority(tmp_path).server("api", ["127.0.0.1"])
    secure.load_cert_chain(pair.certificate, pair.key)
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=secure)
    port = listening.sockets[0].getsockname()[1]
    path = kubeconfig(tmp_path / "kubeconfig", f"https://127.0.0.1:{port}")
    async with listening, Cluster(Access(kubeconfig=path)) as cluster:
        with pytest.raises(UnreachableError, match=r"its certificate is not trusted: .*verify failed"):
            await cluster.get("/version")


# ---- which cluster ----


async def opened(**access: Any) -> tuple[str, str]:
    async with Cluster(Access(**access)) as cluster:
        return cluster.server, cluster.namespace


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a kubeconfig, outside of any cluster."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    return tmp_path


@pytest.mark.asyncio
async def test_a_kubeconfig_is_found_as_kubectl_finds_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig(home / ".kube" / "config", 1)
    assert await opened() == ("http://127.0.0.1:1", "default")
    named = kubeconfig(home / "named", 2, "shop")
    monkeypatch.setenv("KUBECONFIG", f"{home / 'missing'}:{named}")
    assert await opened() == ("http://127.0.0.1:2", "shop")
    assert await opened(kubeconfig=kubeconfig(home / "given", 3)) == ("http://127.0.0.1:3", "default")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("access", "problem"),
    [
        ({}, "and this is not a pod of a cluster"),
        ({"kubeconfig": "/nowhere"}, "there is no kubeconfig at /nowhere"),
    ],
)
@pytest.mark.usefixtures("home")
async def test_there_is_no_kubeconfig(access: dict[str, Any], problem: str) -> None:
    with pytest.raises(AccessError, match=problem) as refused:
        await opened(**access)
    assert "--kubeconfig" in refused.value.hint


@pytest.mark.asyncio
@pytest.mark.parametrize("content", ["", "[]", "contexts: 5", "not: [closed", "a: b"])
async def test_a_kubeconfig_that_makes_no_sense(home: Path, content: str) -> None:
    path = home / "broken"
    path.write_text(content)
    with pytest.raises(AccessError, match="cannot log in") as refused:
        await opened(kubeconfig=str(path))
    assert not re.search("object|\n", str(refused.value)), "neither Python's words nor several lines"


@pytest.mark.asyncio
async def test_a_context_that_is_not_there(home: Path) -> None:
    with pytest.raises(AccessError, match="elsewhere") as refused:
        await opened(kubeconfig=kubeconfig(home / "k", 1), context="elsewhere")
    assert "get-contexts" in refused.value.hint


@pytest.mark.asyncio
async def test_a_plugin_that_fails(home: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never"}
    with pytest.raises(AccessError, match="cannot log in"):
        await opened(kubeconfig=kubeconfig(home / "k", 1, exec=plugin))
