"""A whole controller in this process, its API server on loopback, and a caller that trusts what API servers trust."""

import asyncio
import base64
import io
import json
import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import jsonpatch

from injector.app import Controller, Identity, utc_now
from injector.config import parse
from tests.support.kubernetes_server import KubernetesServer
from tests.unit.kubernetes.stage import until

Object = dict[str, Any]

NAMESPACE = "meshctl"
SERVER_NAME = "meshctl-controller.meshctl.svc"
CONFIGURATIONS, SECRETS, LEASES, EVENTS = "mutatingwebhookconfigurations", "secrets", "leases", "events"


def namespace(name: str, **annotations: str) -> Object:
    """A Namespace; `inject="enabled"`, or `proxy_image="a:1"`."""
    names = {key: f"meshctl.io/{key}" if key == "inject" else _config(key) for key in annotations}
    metadata = {"name": name, "annotations": {names[key]: value for key, value in annotations.items()}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def configuration() -> Object:
    """The MutatingWebhookConfiguration as it is installed, beside a webhook of somebody else's."""
    client = {"service": {"namespace": NAMESPACE, "name": "meshctl-controller", "path": "/inject"}}
    webhooks = [{"name": "other.example", "clientConfig": {}}, {"name": "injector.meshctl.io", "clientConfig": client}]
    return {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "meshctl-injector"}, "webhooks": webhooks}


def pod(owner: Object | None = None, name: str = "", spec: Object | None = None, **annotations: str) -> Object:
    """A pod as the API server sends it; annotations as for `namespace`."""
    names = {key: f"meshctl.io/{key}" if key == "inject" else _config(key) for key in annotations}
    metadata: Object = {"annotations": {names[key]: value for key, value in annotations.items()}}
    metadata |= {"name": name} if name else {"generateName": "web-"}
    if owner is not None:
        metadata["ownerReferences"] = [{**owner, "controller": True}]
    containers = [{"name": "web", "image": "web:1"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **(spec or {})}}


def review(held: Any, namespace: str = "shop", **request: Any) -> Object:
    """An AdmissionReview that asks whether a pod may be made."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": namespace,
            "object": held,
            **request,
        },
    }


def bundle(server: KubernetesServer, at_s: float = math.inf) -> bytes:
    """The caBundle, as API servers have it, or had it at that time (time.monotonic)."""
    held = server.as_it_was(at_s, CONFIGURATIONS, "meshctl-injector")
    assert held is not None
    return base64.b64decode(held["webhooks"][1]["clientConfig"].get("caBundle", ""))


def trusting(server: KubernetesServer) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=bundle(server).decode())


class Caller:
    """Calls the webhook as an API server does."""

    def __init__(self, server: KubernetesServer, controller: Controller, session: aiohttp.ClientSession) -> None:
        assert controller.injection is not None
        self._server = server
        self._session = session
        self.url = f"https://127.0.0.1:{controller.injection.webhook.address.port}/inject"

    def trusting(self) -> ssl.SSLContext:
        """The TLS context of who trusts the caBundle as it is now."""
        return trusting(self._server)

    async def post(self, body: Any, **options: Any) -> tuple[int, bytes]:
        """(status, body) of any request."""
        options.setdefault("headers", {"Content-Type": "application/json"})
        options.setdefault("ssl", self.trusting())
        if isinstance(body, (str, bytes)):
            body = io.BytesIO(body.encode() if isinstance(body, str) else body)  # sent piece by piece, with its length
        async with self._session.post(self.url, data=body, server_hostname=SERVER_NAME, **options) as response:
            return response.status, await response.read()

    async def ask(self, asked: Object, **options: Any) -> Object:
        """The response to a review that is answered."""
        status, body = await self.post(json.dumps(asked), **options)
        assert status == 200, body
        answer = json.loads(body)
        assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response: Object = answer["response"]
        assert response["uid"] == asked["request"]["uid"]
        assert response["allowed"] is True
        assert set(response) <= {"uid", "allowed", "patch", "patchType", "warnings"}
        return response

    async def injected(self, held: Object, namespace: str = "shop", **request: Any) -> Object:
        """The pod as it is afterwards."""
        return patched(held, await self.ask(review(held, namespace, **request)))


def patch_of(response: Object) -> list[Object]:
    if "patch" not in response:
        assert "patchType" not in response
        return []
    assert response["patchType"] == "JSONPatch"
    operations: list[Object] = json.loads(base64.b64decode(response["patch"], validate=True))
    assert operations, "an empty patch is left out"
    return operations


def patched(held: Object, response: Object) -> Object:
    result: Object = jsonpatch.apply_patch(held, patch_of(response))
    return result


@asynccontextmanager
async def running(
    server: KubernetesServer,
    directory: Path,
    pod: str = "meshctl-controller-0",
    now: Callable[[], datetime] = utc_now,
    late_s: float = 0,
    **settings: Any,
) -> AsyncIterator[Controller]:
    """A controller on free ports, ready."""
    address = "127.0.0.1:0"
    config = {
        "kubernetes": {"kubeconfig": str(server.kubeconfig(directory))},
        "admin": {"address": address},
        "endpoints": {"address": address},
        **settings,
        "webhook": {"address": address, **settings.get("webhook", {})},
        "injection": {"image": "meshctl:test", **settings.get("injection", {})},
    }
    controller = Controller(parse(json.dumps(config)), Identity(NAMESPACE, pod), late_s=late_s, now=now)
    task = asyncio.create_task(controller.run())
    try:
        await until(lambda: task.done() or controller.ready()[0])
        if task.done():
            task.result()
        yield controller
    finally:
        controller.shutdown()
        await task


@asynccontextmanager
async def calling(server: KubernetesServer, controller: Controller) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield Caller(server, controller, session)


@asynccontextmanager
async def stage(server: KubernetesServer, directory: Path, **settings: Any) -> AsyncIterator[Caller]:
    """A ready controller and who calls its webhook."""
    async with running(server, directory, **settings) as controller, calling(server, controller) as caller:
        yield caller


async def metric(controller: Controller, name: str, **labels: str) -> float:
    return controller.registry.get_sample_value(name, labels) or 0.0


async def gone(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _config(key: str) -> str:
    return f"config.meshctl.io/{key.replace('_', '-')}"
