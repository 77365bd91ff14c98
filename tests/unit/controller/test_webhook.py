"""The admission webhook over real TLS: what it does with pods, and with what is none."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from injector import webhook as webhook_module
from injector.settings import INIT, SIDECAR
from tests.support.kubernetes_server import KubernetesServer
from tests.unit.controller.stage import (
    Caller,
    calling,
    metric,
    namespace,
    patch_of,
    pod,
    review,
    running,
    stage,
    trusting,
)
from tests.unit.kubernetes.stage import until

MIB = 2**20


def names(held: dict[str, Any]) -> list[str]:
    return [each["name"] for each in held["spec"].get("initContainers", [])]


# ---- pods ----


@pytest.mark.asyncio
async def test_a_pod_is_injected_and_a_second_time_left_as_it_is(server: KubernetesServer, tmp_path: Path) -> None:
    async with stage(server, tmp_path) as caller:
        once = await caller.injected(pod())
        assert names(once) == [INIT, SIDECAR]
        assert {each["image"] for each in once["spec"]["initContainers"]} == {"meshctl:test"}
        assert set(await caller.ask(review(once))) == {"uid", "allowed"}


@pytest.mark.asyncio
async def test_namespace_pod_and_default_decide_in_that_order(server: KubernetesServer, tmp_path: Path) -> None:
    server.put(namespace("off", inject="disabled"))
    async with stage(server, tmp_path) as caller:
        assert names(await caller.injected(pod(), "plain")) == []
        assert names(await caller.injected(pod(inject="enabled"), "off")) == [INIT, SIDECAR]
        assert names(await caller.injected(pod(inject="disabled"), "shop")) == []
    async with stage(server, tmp_path, injection={"enabled_by_default": True}) as caller:
        assert names(await caller.injected(pod(), "plain")) == [INIT, SIDECAR]
        assert names(await caller.injected(pod(), "off")) == []


@pytest.mark.asyncio
async def test_settings_come_from_the_file_the_namespace_and_the_pod(server: KubernetesServer, tmp_path: Path) -> None:
    server.put(namespace("shop", inject="enabled", log_level="debug", proxy_cpu_request="20m"))
    async with stage(server, tmp_path, injection={"memory_request": "50Mi"}) as caller:
        sidecar = (await caller.injected(pod(proxy_cpu_request="30m")))["spec"]["initContainers"][1]
    assert sidecar["resources"]["requests"] == {"cpu": "30m", "memory": "50Mi"}
    assert {"name": "MESHCTL_LOG_LEVEL", "value": "debug"} in sidecar["env"]


@pytest.mark.asyncio
async def test_a_wrong_annotation_is_told_to_whoever_made_the_pod(server: KubernetesServer, tmp_path: Path) -> None:
    async with stage(server, tmp_path) as caller:
        response = await caller.ask(review(pod(log_level="loud\n" * 200, memory_limit="1")))
    assert patch_of(response) == []
    unknown, *others = sorted(response["warnings"])
    assert unknown == (
        "meshctl: annotation config.meshctl.io/memory-limit is not known;"
        " did you mean config.meshctl.io/proxy-memory-limit?"
    )
    (wrong,) = others
    assert wrong.startswith("meshctl: config.meshctl.io/log-level: 'loud")
    assert len(wrong) <= 256 and wrong.isprintable(), "the API server sends it on as a header"


@pytest.mark.asyncio
async def test_other_namespaces_than_those_of_the_controller_are_none_of_its_business(
    server: KubernetesServer, tmp_path: Path
) -> None:
    async with stage(server, tmp_path, namespaces=["shop"]) as caller:
        assert names(await caller.injected(pod())) == [INIT, SIDECAR]
        assert names(await caller.injected(pod(inject="enabled"), "plain")) == []
    selectors = [query["fieldSelector"] for _, path, query in server.requests if path == "/api/v1/namespaces"]
    assert set(selectors) == {"metadata.name=shop"}, "so that a role for the one namespace is enough"


# ---- namespaces ----


@pytest.mark.asyncio
async def test_what_a_namespace_says_is_followed(server: KubernetesServer, tmp_path: Path) -> None:
    async def becomes(caller: Caller, expected: list[str]) -> None:
        async with asyncio.timeout(30):
            while names(await caller.injected(pod(), "plain")) != expected:
                pass

    async with stage(server, tmp_path) as caller:
        server.put(namespace("plain", inject="enabled"))
        await becomes(caller, [INIT, SIDECAR])
        server.put(namespace("plain"))
        await becomes(caller, [])


@pytest.mark.asyncio
async def test_a_namespace_that_was_only_just_made_is_fetched_once_for_all_its_pods(
    server: KubernetesServer, tmp_path: Path
) -> None:
    async with stage(server, tmp_path) as caller:
        await until(lambda: server.watches("namespaces"))
        server.replace_quietly("namespaces", namespace("new", inject="enabled"))
        results = await asyncio.gather(*(caller.injected(pod(), "new") for _ in range(20)))
    assert all(names(result) == [INIT, SIDECAR] for result in results)
    assert server.requests.count(("get", "/api/v1/namespaces/new", {})) == 1


@pytest.mark.asyncio
async def test_a_pod_of_a_namespace_that_cannot_be_had_is_let_through_in_time(
    server: KubernetesServer, tmp_path: Path
) -> None:
    async with stage(server, tmp_path) as caller:
        assert patch_of(await caller.ask(review(pod(), "absent"))) == []
        server.silent = True

        async def let_through_after_s() -> float:
            began_s = asyncio.get_running_loop().time()
            response = await caller.ask(review(pod(), "unknown"))
            assert patch_of(response) == []
            assert response["warnings"] == ["meshctl: the annotations of namespace unknown could not be had"]
            return asyncio.get_running_loop().time() - began_s

        if await let_through_after_s() >= 4:  # a machine that stood still, or too long every time
            assert await let_through_after_s() < 4, "the API server waits for 5 s"
        assert names(await caller.injected(pod(inject="enabled"), "unknown")) == [INIT, SIDECAR]
        assert names(await caller.injected(pod())) == [INIT, SIDECAR], "what was known stays"


# ---- what is no pod ----


@pytest.mark.parametrize(
    ("request_part", "named"),
    [
        ({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}, "CREATE Deployment"),
        ({"kind": {"group": "", "version": "v2", "kind": "Pod"}}, "CREATE Pod"),
        ({"operation": "UPDATE"}, "UPDATE Pod"),
        ({"operation": "DELETE", "object": None}, "DELETE Pod"),
        ({"subResource": "ephemeralcontainers"}, "CREATE Pod ephemeralcontainers"),
        ({"kind": 7, "operation": ["CREATE"]}, "nothing"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_no_new_pod_is_allowed_with_a_warning(
    server: KubernetesServer, tmp_path: Path, request_part: dict[str, Any], named: str
) -> None:
    async with stage(server, tmp_path) as caller:
        response = await caller.ask(review(pod(), **request_part))
    assert patch_of(response) == []
    assert response["warnings"] == [f"meshctl: it was asked about {named}, and only looks at pods that are made"]


MALFORMED_PODS: list[Any] = [
    None,
    "a pod",
    [],
    {},
    {"spec": None},
    {"spec": {"containers": "web"}},
    {"spec": {"containers": [7]}},
    {"spec": {"containers": [{"name": ["unhashable"]}]}},
    {"metadata": {"annotations": ["meshctl.io/inject"]}, "spec": {"containers": [{}]}},
    {"metadata": {"annotations": {"meshctl.io/inject": {"deep": True}}}, "spec": {"containers": [{}]}},
    {"metadata": {"ownerReferences": "x"}, "spec": {"containers": [{"ports": 5, "securityContext": 5}]}},
    {"metadata": {"ownerReferences": [5, {"controller": True}]}, "spec": {"containers": [{"ports": [5]}]}},
    {"spec": {"containers": [{}], "securityContext": "root", "terminationGracePeriodSeconds": "soon"}},
    {"spec": {"containers": [{"name": "\ud800"}], "volumes": {"a": 1}}},
    {"spec": {"containers": [{}], "initContainers": [{"name": {}}], "volumes": [{"name": []}]}},
]


@pytest.mark.parametrize("held", MALFORMED_PODS, ids=repr)
@pytest.mark.asyncio
async def test_no_pod_however_malformed_is_kept_from_running(
    server: KubernetesServer, tmp_path: Path, held: Any
) -> None:
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        await caller.ask(review(held))
        assert await metric(controller, "meshctl_admission_faults_total") == 0


@pytest.mark.asyncio
async def test_a_fault_of_ours_lets_the_pod_through_and_says_so(
    server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(webhook_module, "injection", broken)
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        response = await caller.ask(review(pod()))
        assert response["warnings"] == ["meshctl: a fault: this pod was not looked at"]
        assert await metric(controller, "meshctl_admission_faults_total") == 1


# ---- what is no review ----


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * MIB


@pytest.mark.asyncio
async def test_garbage_gets_a_clear_answer(server: KubernetesServer, tmp_path: Path) -> None:
    good = json.dumps(review(pod()))
    deep = "[" * 100_000 + "]" * 100_000
    cases: list[tuple[Any, int, str]] = [
        (b"", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"{" + b"a" * MIB, 400, "not JSON"),
        (deep, 400, "nested too deeply"),
        (good.replace('"containers": [', f'"containers": [{deep}, '), 400, "nested too deeply"),
        (f'{{"a": {"9" * 10_000}}}', 400, "not JSON"),
        ("[]", 400, "not an AdmissionReview"),
        ("{}", 400, "not an AdmissionReview"),
        (good.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, "not an AdmissionReview"),
        (json.dumps({**review(pod()), "request": None}), 400, "without a request"),
        (json.dumps(review(pod(), uid=7)), 400, "without a uid"),
        (json.dumps(review(pod(), uid="")), 400, "without a uid"),
        (b"\0" * 10 * MIB, 413, "more than 4194304 bytes"),
        (pieces(10), 413, "more than 4194304 bytes"),
    ]
    async with running(server, tmp_path) as controller, calling(server, controller) as caller:
        for body, expected, said in cases:
            status, text = await caller.post(body)
            assert (status, said in text.decode()) == (expected, True), (status, text[:200])
        bomb = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        status, _ = await caller.post(gzip.compress(b" " * 10 * MIB), headers=bomb)
        assert status == 413
        for kind in ("text/plain", "application/yaml", "multipart/form-data"):
            status, text = await caller.post(good, headers={"Content-Type": kind})
            assert (status, text) == (415, f"application/json is wanted, not {kind!r}\n".encode())
        assert names(await caller.injected(pod())) == [INIT, SIDECAR], "the others are served as before"
        assert await metric(controller, "meshctl_admission_refusals_total", code="415") == 3
        assert await metric(controller, "meshctl_admission_refusals_total", code="413") == 3


@pytest.mark.asyncio
async def test_other_methods_and_paths_are_refused(server: KubernetesServer, tmp_path: Path) -> None:
    async with stage(server, tmp_path) as caller, aiohttp.ClientSession() as session:
        options: dict[str, Any] = {"ssl": trusting(server), "server_hostname": "meshctl-controller.meshctl.svc"}
        async with session.get(caller.url, **options) as response:
            assert response.status == 405
        async with session.post(caller.url + "/other", **options) as response:
            assert response.status == 404


@pytest.mark.asyncio
async def test_a_body_that_does_not_come_is_not_waited_for(
    server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_module, "BODY_S", 0.1)

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with stage(server, tmp_path) as caller:
        status, text = await caller.post(never())
    assert (status, text) == (408, b"the body did not come within 0.1 s\n")


@pytest.mark.asyncio
async def test_a_controller_that_is_told_to_stop_gives_its_connections_back(
    server: KubernetesServer, tmp_path: Path
) -> None:
    async with running(server, tmp_path, late_s=30) as controller, calling(server, controller) as caller:

        async def closes() -> bool:
            body, headers = json.dumps(review(pod())), {"Content-Type": "application/json"}
            options: dict[str, Any] = {"ssl": trust, "server_hostname": "meshctl-controller.meshctl.svc"}
            async with session.post(caller.url, data=body, headers=headers, **options) as response:
                assert patch_of((await response.json())["response"]), "it is still a good address for some"
                return response.headers.get("Connection") == "close"

        trust = trusting(server)
        async with aiohttp.ClientSession() as session:
            assert not await closes()
            controller.shutdown()
            await until(lambda: not controller.ready()[0])
            async with asyncio.timeout(30):
                while not await closes():
                    pass


# ---- TLS ----


@pytest.mark.asyncio
async def test_tls_before_1_2_and_no_tls_are_refused(server: KubernetesServer, tmp_path: Path) -> None:
    async with stage(server, tmp_path) as caller:
        old = trusting(server)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises(aiohttp.ClientConnectorError):
            await caller.post("{}", ssl=old)
        twelve = trusting(server)
        twelve.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await caller.post("{}", ssl=twelve))[0] == 400
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.post(caller.url.replace("https", "http"), data="{}")


@pytest.mark.asyncio
async def test_who_does_not_trust_its_authority_is_not_served(server: KubernetesServer, tmp_path: Path) -> None:
    async with stage(server, tmp_path) as caller:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await caller.post("{}", ssl=ssl.create_default_context())
