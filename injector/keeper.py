"""What the leader does: keeps the webhook's certificate in its Secret, and the API servers' trust in step with it.

    Secret meshctl-webhook-tls                     made, renewed before it expires, made anew if it is no good
    MutatingWebhookConfiguration meshctl-injector  its caBundle, written again if somebody else changed it

It looks at both, as they are on the API server, when one of them changes and once in a minute, and does what is
missing. The order is always: trust more, then (after HEARD_S, when every API server has heard of it) show something
else, then (after SETTLE_S, when every replica shows it) trust less. Both writes name the version they are for, so that
one of a leader that was deposed meanwhile fails.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from injector import certificates
from injector.certificates import Certificates, Keys
from injector.metrics import Metrics
from injector.serving import entries
from proxy.discovery.kubernetes.api import ApiError, ApiServer, Json, RefusedError
from proxy.discovery.kubernetes.follow import Collection, Follower

log = logging.getLogger(__name__)

SECRET: Final = "meshctl-webhook-tls"
SERVICE: Final = "meshctl-controller"
CONFIGURATION: Final = "meshctl-injector"
WEBHOOK: Final = "injector.meshctl.io"
CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CERT_MANAGER: Final = "cert-manager.io/certificate-name"

CHECK_S: Final = 60.0
AGAIN_S: Final = 5.0
HEARD_S: Final = 2.0
SETTLE_S: Final = 10.0
PAUSE_S: Final = 0.5  # between two looks, should somebody else write as often as we do


def secrets(namespace: str) -> Collection:
    """The one Secret, as it is followed by every replica."""
    return Collection(f"/api/v1/namespaces/{namespace}/secrets", {"fieldSelector": f"metadata.name={SECRET}"})


def service_names(namespace: str, domain: str) -> list[str]:
    """What API servers call the webhook; the first is the one they check."""
    return [f"{SERVICE}.{namespace}.svc", f"{SERVICE}.{namespace}.svc.{domain.strip('.')}"]


class CertificateKeeper:
    """Runs while its replica leads. `wake` says that the Secret may have changed."""

    def __init__(
        self,
        api: ApiServer,
        namespace: str,
        names: Sequence[str],
        metrics: Metrics,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._names = list(names)
        self._metrics = metrics
        self._now = now
        self._changed = asyncio.Event()
        self._settled_at_s = 0.0

    def wake(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        collection = Collection(CONFIGURATIONS, {"fieldSelector": f"metadata.name={CONFIGURATION}"})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Follower(self._api, collection, _Bell(self.wake)).run())
            tasks.create_task(self._keep())

    async def look(self) -> float:
        """Does what is missing, and says after how many seconds to look again. Raises ApiError."""
        now_s = asyncio.get_running_loop().time()
        secret = await self._find(f"{self._secrets}/{SECRET}")
        if secret is not None and _is_cert_managers(secret):
            log.error("Secret %s is cert-manager's; set webhook.certificates to provided", SECRET)
            return CHECK_S
        held = _keys(secret)
        if held is None:
            wanted = certificates.made(self._names, self._now())
        else:
            wanted = certificates.renewed(held, self._names, self._now())
        if wanted is not held:
            trusted = (*wanted.authorities, *(held.authorities if held else ()))
            if await self._trust(trusted, also_others=True):
                await asyncio.sleep(HEARD_S)
            await self._write(secret, wanted)
            self._count(held, wanted)
            self._settled_at_s = now_s + SETTLE_S
        else:
            await self._trust(wanted.authorities, also_others=now_s < self._settled_at_s)
        return CHECK_S if now_s >= self._settled_at_s else SETTLE_S

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            try:
                pause_s = await self.look()
            except ApiError as error:
                log.warning("the webhook's certificate could not be looked after: %s", error)
                pause_s = AGAIN_S
            # Not asyncio.wait_for, which loses a cancellation that meets the event (Python 3.11).
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            await asyncio.sleep(PAUSE_S)

    async def _find(self, path: str) -> Json | None:
        try:
            return await self._api.get(path)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def _write(self, secret: Json | None, keys: Keys) -> None:
        data = {name: base64.b64encode(value).decode() for name, value in keys.data().items()}
        if secret is None:
            await self._api.send("POST", self._secrets, {**_NEW_SECRET, "data": data})
        else:
            await self._api.send("PUT", f"{self._secrets}/{SECRET}", {**secret, "data": data})

    async def _trust(self, authorities: Certificates, *, also_others: bool) -> bool:
        """Makes the caBundle these; `also_others` leaves what else is in it. Whether new ones came to others."""
        configuration = await self._find(f"{CONFIGURATIONS}/{CONFIGURATION}")
        patch: list[dict[str, Any]] = []
        has_grown = False
        for index, webhook in enumerate(_webhooks(configuration)):
            before = _bundle(webhook)
            others = certificates.read_authorities(before) if also_others else ()
            after = certificates.pem(list(dict.fromkeys((*authorities, *others))))
            if webhook.get("name") == WEBHOOK and after != before:
                patch += _patch(index, after)
                has_grown = bool(others)
        if configuration is None:
            log.warning("there is no MutatingWebhookConfiguration %s: no pods are injected", CONFIGURATION)
        elif patch:
            version = configuration["metadata"]["resourceVersion"]
            patch.insert(0, {"op": "test", "path": "/metadata/resourceVersion", "value": version})
            await self._api.send("PATCH", f"{CONFIGURATIONS}/{CONFIGURATION}", patch, "application/json-patch+json")
            log.info("caBundle of %s: %d authorities", CONFIGURATION, len(authorities))
        return has_grown

    def _count(self, held: Keys | None, wanted: Keys) -> None:
        if held is None or held.authorities[0] != wanted.authorities[0]:
            self._metrics.certificates.labels("authority").inc()
        if held is None or held.certificate != wanted.certificate:
            self._metrics.certificates.labels("serving").inc()


class _Bell:
    """A sink that only says that something changed."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def replace(self, _: Sequence[Json]) -> None:
        self._ring()

    def put(self, _: Json) -> None:
        self._ring()

    def drop(self, _: Json) -> None:
        self._ring()


_NEW_SECRET: Final = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "kubernetes.io/tls",
    "metadata": {
        "name": SECRET,
        "labels": {"app.kubernetes.io/name": "meshctl", "app.kubernetes.io/component": "controller"},
    },
}


def _keys(secret: Json | None) -> Keys | None:
    if secret is None:
        return None
    try:
        return certificates.read(entries(secret))
    except ValueError as error:
        log.warning("Secret %s is not as we wrote it, and is written anew: %s", SECRET, error)
        return None


def _is_cert_managers(secret: Json) -> bool:
    metadata = secret.get("metadata")
    return isinstance(metadata, dict) and CERT_MANAGER in (metadata.get("annotations") or {})


def _webhooks(configuration: Json | None) -> list[Json]:
    found = configuration.get("webhooks") if configuration is not None else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _bundle(webhook: Json) -> bytes:
    client = webhook.get("clientConfig")
    text = client.get("caBundle") if isinstance(client, dict) else None
    try:
        return base64.b64decode(text or "", validate=True)
    except (TypeError, binascii.Error):
        return b""


def _patch(index: int, bundle: bytes) -> list[dict[str, Any]]:
    path = f"/webhooks/{index}"
    return [
        {"op": "test", "path": f"{path}/name", "value": WEBHOOK},
        {"op": "add", "path": f"{path}/clientConfig/caBundle", "value": base64.b64encode(bundle).decode()},
    ]
