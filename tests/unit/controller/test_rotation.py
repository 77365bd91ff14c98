"""Certificates change under load, and nobody notices: 50 requests in a second, on new connections and on old ones."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from injector import certificates, keeper
from injector.app import Controller, utc_now
from injector.certificates import AUTHORITY_LIFE, Keys
from injector.keeper import SECRET, service_names
from injector.serving import entries
from tests.support.kubernetes_server import KubernetesServer
from tests.unit.controller.stage import (
    CONFIGURATIONS,
    NAMESPACE,
    SECRETS,
    SERVER_NAME,
    Caller,
    bundle,
    calling,
    configuration,
    gone,
    pod,
    review,
    running,
)
from tests.unit.kubernetes.stage import until

RATE = 50
LAG_S = 0.3  # how much later than the caBundle changes an API server goes by it
NAMES = service_names(NAMESPACE, "cluster.local")
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "CHECK_S", 0.1)
    monkeypatch.setattr(keeper, "HEARD_S", 2.0)
    monkeypatch.setattr(keeper, "SETTLE_S", 2.0)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Load:
    """Calls at a steady rate: every other one on a connection of its own. Trusts the caBundle as it was LAG_S ago."""

    def __init__(self, server: KubernetesServer, url: str) -> None:
        self._server = server
        self._url = url
        self._trusted: dict[bytes, ssl.SSLContext] = {}
        self._began_s = time.monotonic()
        self.done = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        async with aiohttp.ClientSession() as kept, asyncio.TaskGroup() as calls:
            while True:
                calls.create_task(self._call(kept if self.done % 2 else None))
                await asyncio.sleep(1 / RATE)

    async def _call(self, kept: aiohttp.ClientSession | None) -> None:
        options: dict[str, Any] = {"ssl": self._context(), "server_hostname": SERVER_NAME, "json": review(pod())}
        try:
            if kept is not None:
                await self._answered(kept, options)
            else:
                async with aiohttp.ClientSession() as fresh:
                    await self._answered(fresh, options)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.failures.append(repr(error))
        self.done += 1

    async def _answered(self, session: aiohttp.ClientSession, options: dict[str, Any]) -> None:
        async with session.post(self._url, timeout=aiohttp.ClientTimeout(30), **options) as response:
            answer = await response.json()
            if response.status != 200 or "patch" not in answer["response"]:
                self.failures.append(f"{response.status} {answer}")

    def _context(self) -> ssl.SSLContext:
        trusted = bundle(self._server, max(time.monotonic() - LAG_S, self._began_s))
        if trusted not in self._trusted:
            self._trusted[trusted] = ssl.create_default_context(cadata=trusted.decode())
        return self._trusted[trusted]


def shown(server: KubernetesServer) -> Keys:
    held = server.find(SECRETS, SECRET, NAMESPACE)
    assert held is not None
    return certificates.read(entries(held))


def installed(server: KubernetesServer, keys: Keys) -> None:
    """As a leader has left it."""
    data = {name: base64.b64encode(value).decode() for name, value in keys.data().items()}
    held = configuration()
    held["webhooks"][1]["clientConfig"]["caBundle"] = base64.b64encode(certificates.pem(keys.authorities)).decode()
    server.put({"kind": "Secret", "metadata": {"name": SECRET, "namespace": NAMESPACE}, "data": data}, held)


async def under_load(
    server: KubernetesServer,
    directory: Path,
    clock: Callable[[], datetime],
    rotate: Callable[[Controller], Awaitable[None]],
) -> Load:
    async with running(server, directory, now=clock) as controller, calling(server, controller) as caller:
        load = Load(server, caller.url)
        task = asyncio.create_task(load.run())
        await asyncio.sleep(1)
        await rotate(controller)
        await asyncio.sleep(1)
        await until(lambda: load.done > RATE)
        await gone(task)
    print(f"{load.done} requests, {len(load.failures)} failed")
    return load


@pytest.mark.asyncio
async def test_a_renewal_fails_no_request(server: KubernetesServer, tmp_path: Path) -> None:
    clock = Clock(utc_now() - timedelta(days=3.6))

    async def rotate(controller: Controller) -> None:
        before = shown(server)
        clock.now = utc_now()
        await until(lambda: shown(server).certificate != before.certificate)
        assert controller.injection is not None
        expires = shown(server).certificate.not_valid_after_utc
        await until(lambda: controller.injection and controller.injection.certificate.expires == expires)
        assert shown(server).authorities == before.authorities

    load = await under_load(server, tmp_path, clock, rotate)
    assert load.failures == []


@pytest.mark.asyncio
async def test_a_new_authority_fails_no_request(server: KubernetesServer, tmp_path: Path) -> None:
    began = utc_now()
    old = certificates.made(NAMES, began - AUTHORITY_LIFE / 2 - 1.5 * HOUR)
    old = certificates.renewed(old, NAMES, began - 1.6 * HOUR)
    installed(server, old)
    clock = Clock(began - 1.55 * HOUR)

    async def rotate(_: Controller) -> None:
        assert shown(server).data() == old.data()
        clock.now = began - 1.4 * HOUR
        await until(lambda: len(shown(server).authorities) == 2)
        await asyncio.sleep(1)
        clock.now = began - 0.3 * HOUR
        await until(lambda: shown(server).certificate != old.certificate)

    load = await under_load(server, tmp_path, clock, rotate)
    assert load.failures == []
    assert shown(server).certificate.issuer == shown(server).authorities[0].subject != old.authorities[0].subject


@pytest.mark.asyncio
async def test_a_secret_that_somebody_deletes_fails_no_request(server: KubernetesServer, tmp_path: Path) -> None:
    async def rotate(_: Controller) -> None:
        before = shown(server)
        held = server.find(SECRETS, SECRET, NAMESPACE)
        assert held is not None
        server.delete(held)
        await until(lambda: server.all(SECRETS))
        after = shown(server)
        assert after.authorities[0] != before.authorities[0]
        await until(lambda: bundle(server) == certificates.pem(after.authorities))

    load = await under_load(server, tmp_path, utc_now, rotate)
    assert load.failures == []


class Connection:
    """One connection to the webhook, and the serial number of the certificate that it was shown."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.serial = int(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"], 16)

    @classmethod
    async def open(cls, server: KubernetesServer, caller: Caller) -> "Connection":
        port = URL(caller.url).port
        trusted = ssl.create_default_context(cadata=bundle(server).decode())
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname=SERVER_NAME))

    async def ask(self) -> dict[str, Any]:
        body = json.dumps(review(pod())).encode()
        head = f"POST /inject HTTP/1.1\r\nHost: {SERVER_NAME}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert answer.startswith("http/1.1 200") and "connection: close" not in answer
        length = int(answer.split("content-length:")[1].split("\r\n")[0])
        response: dict[str, Any] = json.loads(await self._reader.readexactly(length))["response"]
        return response

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.mark.asyncio
async def test_a_connection_from_before_lives_on(server: KubernetesServer, tmp_path: Path) -> None:
    clock = Clock(utc_now() - timedelta(days=3.6))
    async with running(server, tmp_path, now=clock) as controller, calling(server, controller) as caller:
        old = await Connection.open(server, caller)
        assert "patch" in await old.ask()
        assert old.serial == shown(server).certificate.serial_number
        assert controller.injection is not None
        was = controller.injection.certificate.expires
        clock.now = utc_now()
        await until(lambda: controller.injection and controller.injection.certificate.expires != was)
        new = await Connection.open(server, caller)
        assert new.serial == shown(server).certificate.serial_number != old.serial
        for connection in (old, new, old):
            assert "patch" in await connection.ask()
        await old.close()
        await new.close()


@pytest.mark.asyncio
async def test_two_replicas_show_the_same_and_one_leads(server: KubernetesServer, tmp_path: Path) -> None:
    async with running(server, tmp_path, pod="a") as first, running(server, tmp_path, pod="b") as second:
        leads = [each.registry.get_sample_value("meshctl_leader") for each in (first, second)]
        assert sorted(map(str, leads)) == ["0.0", "1.0"]
        for controller in (first, second):
            async with calling(server, controller) as caller:
                assert "patch" in await caller.ask(review(pod()))
        authorities = [
            each.registry.get_sample_value("meshctl_webhook_certificates_total", {"kind": "authority"}) or 0
            for each in (first, second)
        ]
        assert sum(authorities) == 1


@pytest.mark.asyncio
async def test_a_certificate_that_is_provided_is_only_read(server: KubernetesServer, tmp_path: Path) -> None:
    keys = certificates.made(NAMES, utc_now())
    installed(server, keys)
    held = server.find(SECRETS, SECRET, NAMESPACE)
    assert held is not None
    data = {name: value for name, value in held["data"].items() if name.startswith("tls.")}
    server.put({**held, "data": data})
    before = len(server.requests)
    provided = {"certificates": "provided"}
    async with running(server, tmp_path, webhook=provided) as controller, calling(server, controller) as caller:
        assert "patch" in await caller.ask(review(pod()))
        other = certificates.made(NAMES, utc_now() - HOUR)
        installed(server, other)
        expires = other.certificate.not_valid_after_utc
        await until(lambda: controller.injection and controller.injection.certificate.expires == expires)
        assert "patch" in await caller.ask(review(pod()))
    assert {what for what, _, _ in server.requests[before:]} <= {"list", "watch"}
    assert server.all("leases") == []
    assert CONFIGURATIONS not in {path.rsplit("/", 1)[1] for _, path, _ in server.requests}
