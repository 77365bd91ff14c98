"""What the leader keeps in order: the Secret, and the caBundle that API servers go by."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from injector import certificates, keeper
from injector.certificates import SERVING_LIFE, TRUSTED_FIRST
from injector.keeper import CertificateKeeper, service_names
from injector.metrics import Metrics
from injector.serving import entries
from proxy.config import KubernetesConfig
from proxy.discovery.kubernetes.api import ApiServer, RefusedError
from tests.support.kubernetes_server import KubernetesServer
from tests.unit.controller.stage import CONFIGURATIONS, NAMESPACE, SECRETS, bundle, configuration, gone
from tests.unit.kubernetes.stage import until

SECRET = "meshctl-webhook-tls"
START = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = service_names(NAMESPACE, "cluster.local")


class Scene:
    """A keeper with a clock that stands until it is moved."""

    def __init__(self, server: KubernetesServer, directory: Path) -> None:
        self.server = server
        self.now = START
        self.api = ApiServer(KubernetesConfig(kubeconfig=str(server.kubeconfig(directory))))
        self.registry = CollectorRegistry()
        self.keeper = self.another()

    def another(self) -> CertificateKeeper:
        return CertificateKeeper(self.api, NAMESPACE, NAMES, Metrics(CollectorRegistry()), now=lambda: self.now)

    async def look(self) -> None:
        await self.keeper.look()

    async def settled(self) -> None:
        """Looked at until there is nothing to do, every replica having seen all."""
        await self.keeper.look()
        self.keeper = self.another()
        await self.keeper.look()

    def secret(self) -> dict[str, Any]:
        held = self.server.find(SECRETS, SECRET, NAMESPACE)
        assert held is not None
        return held

    def keys(self) -> certificates.Keys:
        return certificates.read(entries(self.secret()))

    def change(self, **entries: bytes | None) -> None:
        """Somebody else changes the Secret."""
        data = {**self.secret()["data"]}
        for name, value in entries.items():
            entry = name.replace("_", ".")
            if value is None:
                del data[entry]
            else:
                data[entry] = base64.b64encode(value).decode()
        self.server.put({**self.secret(), "data": data})


@pytest_asyncio.fixture
async def scene(server: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(keeper, "HEARD_S", 0.0)
    made = Scene(server, tmp_path)
    yield made
    await made.api.close()


@pytest.mark.asyncio
async def test_the_first_look_makes_all_and_the_next_changes_nothing(scene: Scene) -> None:
    await scene.look()
    assert scene.secret()["type"] == "kubernetes.io/tls"
    assert set(entries(scene.secret())) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert bundle(scene.server) == certificates.pem(scene.keys().authorities)
    version = scene.secret()["metadata"]["resourceVersion"]
    await scene.settled()
    assert scene.secret()["metadata"]["resourceVersion"] == version
    other = scene.server.find(CONFIGURATIONS, "meshctl-injector")
    assert other is not None and other["webhooks"][0] == configuration()["webhooks"][0], "somebody else's"


@pytest.mark.asyncio
async def test_api_servers_trust_a_certificate_before_it_is_written(scene: Scene) -> None:
    await scene.look()
    writes = [what for what, _, _ in scene.server.requests if what in ("post", "put", "patch")]
    assert writes == ["patch", "post"]


@pytest.mark.asyncio
async def test_a_secret_that_vanished_is_made_anew_and_what_replicas_still_show_stays_trusted(scene: Scene) -> None:
    await scene.settled()
    before = scene.keys()
    scene.server.delete(scene.secret())
    await scene.look()
    after = scene.keys()
    assert after.authorities[0] != before.authorities[0]
    assert bundle(scene.server) == certificates.pem((*after.authorities, *before.authorities))
    await scene.settled()
    assert bundle(scene.server) == certificates.pem(after.authorities)


@pytest.mark.parametrize(
    "change", [{"tls_crt": b"nonsense"}, {"ca_key": None}, {"tls_key": b""}, {"ca_crt": b"\xff"}], ids=repr
)
@pytest.mark.asyncio
async def test_a_secret_that_somebody_spoilt_is_made_good(scene: Scene, change: dict[str, bytes | None]) -> None:
    await scene.settled()
    scene.change(**change)
    await scene.look()
    assert scene.keys().certificate
    await scene.settled()
    assert bundle(scene.server) == certificates.pem(scene.keys().authorities)


@pytest.mark.asyncio
async def test_what_is_not_base64_is_made_good(scene: Scene) -> None:
    await scene.settled()
    scene.server.put({**scene.secret(), "data": {"tls.crt": "*", "tls.key": 5}})
    await scene.look()
    assert scene.keys().certificate


@pytest.mark.parametrize("spoilt", ["", base64.b64encode(b"nonsense").decode(), "*"], ids=repr)
@pytest.mark.asyncio
async def test_a_ca_bundle_that_somebody_changed_is_written_again(scene: Scene, spoilt: str) -> None:
    await scene.settled()
    good = bundle(scene.server)
    held = scene.server.find(CONFIGURATIONS, "meshctl-injector")
    assert held is not None
    own = {**held["webhooks"][1], "clientConfig": {**held["webhooks"][1]["clientConfig"], "caBundle": spoilt}}
    scene.server.put({**held, "webhooks": [own, held["webhooks"][0], {"name": "third.example"}]})
    await scene.look()
    now = scene.server.find(CONFIGURATIONS, "meshctl-injector")
    assert now is not None
    assert base64.b64decode(now["webhooks"][0]["clientConfig"]["caBundle"]) == good
    assert now["webhooks"][0]["clientConfig"]["service"] == own["clientConfig"]["service"]
    assert now["webhooks"][1:] == [held["webhooks"][0], {"name": "third.example"}]


@pytest.mark.asyncio
async def test_a_configuration_that_is_not_there_yet_is_written_when_it_comes(scene: Scene) -> None:
    scene.server.delete(configuration())
    await scene.look()
    assert scene.keys().certificate
    scene.server.put(configuration())
    await scene.look()
    assert bundle(scene.server) == certificates.pem(scene.keys().authorities)


@pytest.mark.asyncio
async def test_renewal_and_a_new_authority_go_step_by_step(scene: Scene) -> None:
    await scene.settled()
    first = scene.keys()
    scene.now += SERVING_LIFE / 2
    await scene.settled()
    second = scene.keys()
    assert second.authorities == first.authorities and second.certificate != first.certificate
    while len(scene.keys().authorities) == 1:
        scene.now += timedelta(days=3)
        await scene.settled()
    trusted = scene.keys()
    assert len(certificates.read_authorities(bundle(scene.server))) == 2
    scene.now += TRUSTED_FIRST
    await scene.settled()
    assert scene.keys().certificate != trusted.certificate
    scene.now += SERVING_LIFE * 0.4
    await scene.settled()
    scene.now += SERVING_LIFE * 0.7
    await scene.settled()
    assert bundle(scene.server) == certificates.pem(trusted.authorities[:1])


@pytest.mark.asyncio
async def test_a_write_for_a_version_that_is_past_fails(scene: Scene) -> None:
    """As that of a leader that was deposed, and does not know."""
    await scene.settled()
    stale = scene.secret()
    scene.server.put({**stale, "metadata": {**stale["metadata"], "labels": {"changed": "yes"}}})
    with pytest.raises(RefusedError, match="409"):
        await scene.api.send("PUT", f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}", stale)
    held = scene.server.find(CONFIGURATIONS, "meshctl-injector")
    assert held is not None
    scene.server.put({**held, "metadata": {**held["metadata"], "labels": {"changed": "yes"}}})
    path = f"{keeper.CONFIGURATIONS}/meshctl-injector"
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": held["metadata"]["resourceVersion"]}
    with pytest.raises(RefusedError, match="422"):
        await scene.api.send("PATCH", path, [test], "application/json-patch+json")


@pytest.mark.asyncio
async def test_a_secret_of_cert_managers_is_left_alone(scene: Scene) -> None:
    theirs = {
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": NAMESPACE,
            "annotations": {"cert-manager.io/certificate-name": "meshctl-webhook"},
        },
        "data": {},
    }
    scene.server.put(theirs)
    await scene.look()
    assert scene.secret()["data"] == {}


@pytest.mark.asyncio
async def test_it_wakes_when_something_changes_and_goes_on_after_trouble(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "AGAIN_S", 0.05)
    monkeypatch.setattr(keeper, "PAUSE_S", 0.01)
    scene.server.refuse_writes = 503
    running = asyncio.create_task(scene.keeper.run())
    await until(lambda: any(what == "patch" for what, _, _ in scene.server.requests))
    assert scene.server.all(SECRETS) == []
    scene.server.refuse_writes = None
    await until(lambda: scene.server.all(SECRETS))
    good = bundle(scene.server)
    await until(lambda: scene.server.watches(CONFIGURATIONS))
    scene.server.put(configuration())
    await until(lambda: bundle(scene.server) == good)
    scene.server.delete(scene.secret())
    scene.keeper.wake()
    await until(lambda: scene.server.all(SECRETS))
    await gone(running)


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(3))
async def test_it_ends_when_it_is_told_to_just_as_something_changes(scene: Scene, turns: int) -> None:
    running = asyncio.create_task(scene.keeper.run())
    await until(lambda: scene.server.all(SECRETS) and scene.server.watches(CONFIGURATIONS))
    looks = scene.server.count("get")
    scene.keeper.wake()
    await until(lambda: scene.server.count("get") > looks)  # it looks again, and then waits
    await asyncio.sleep(0.7)
    scene.keeper.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=20)
    assert done, "the cancellation was lost"
