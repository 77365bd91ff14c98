"""The certificate that is shown: what the Secret says, as long as that is good."""

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from injector import certificates
from injector.metrics import Metrics
from injector.serving import ServingCertificate

NAMES = ["meshctl-controller.meshctl.svc"]
NOW = datetime.now(UTC)


def secret(**entries: bytes) -> dict[str, Any]:
    return {"data": {name.replace("_", "."): base64.b64encode(value).decode() for name, value in entries.items()}}


def pair(keys: certificates.Keys) -> dict[str, Any]:
    """As cert-manager has it: no authority's key."""
    data = keys.data()
    return secret(tls_crt=data["tls.crt"], tls_key=data["tls.key"])


def rsa_pair() -> dict[str, Any]:
    """As somebody else may provide it."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMES[0])])
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + timedelta(days=1))
    pem, form, plain = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    certificate = made.sign(key, hashes.SHA256()).public_bytes(pem)
    return secret(tls_crt=certificate, tls_key=key.private_bytes(pem, form, plain))


class Door:
    """A TLS server behind the certificate, and what a new connection is shown: a serial number."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.changes = 0
        self.certificate = ServingCertificate(Metrics(self.registry), self._count)

    def _count(self) -> None:
        self.changes += 1

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, "127.0.0.1", 0, ssl=self.certificate.door
        )

    async def shown(self) -> int:
        """Raises OSError if the handshake fails."""
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        port = self._server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=anybody)
        shown = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.transport.abort()
        return shown.serial_number

    async def stop(self) -> None:
        self._server.close()


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    await made.start()
    yield made
    await made.stop()


@pytest.mark.asyncio
async def test_without_a_certificate_no_handshake_succeeds(door: Door) -> None:
    assert not door.certificate.is_loaded
    with pytest.raises(OSError):
        await door.shown()


@pytest.mark.asyncio
async def test_new_connections_are_shown_the_newest(door: Door) -> None:
    first, second = certificates.made(NAMES, NOW), certificates.made(NAMES, NOW + timedelta(hours=1))
    door.certificate.replace([pair(first)])
    assert await door.shown() == first.certificate.serial_number
    door.certificate.put(pair(second))
    assert await door.shown() == second.certificate.serial_number
    expires = door.registry.get_sample_value("meshctl_webhook_certificate_expiry_timestamp_seconds")
    assert expires == second.certificate.not_valid_after_utc.timestamp()
    assert door.changes == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: {"data": None},
        lambda _: {"data": {"tls.crt": "*", "tls.key": "*"}},
        lambda good: {"data": {"tls.crt": good["data"]["tls.crt"]}},
        lambda good: {"data": {**good["data"], "tls.crt": ""}},
        lambda good: {"data": {**good["data"], "tls.key": pair(certificates.made(NAMES, NOW))["data"]["tls.key"]}},
    ],
)
@pytest.mark.asyncio
async def test_the_last_good_one_stays(
    door: Door, spoil: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    good = certificates.made(NAMES, NOW)
    door.certificate.put(pair(good))
    door.certificate.put(spoil(pair(good)))
    assert [record.levelno for record in caplog.records if record.name == "injector.serving"] == [logging.ERROR]
    assert await door.shown() == good.certificate.serial_number
    door.certificate.drop({})
    assert await door.shown() == good.certificate.serial_number


@pytest.mark.asyncio
async def test_one_of_another_kind_takes_the_place_of_ours(door: Door) -> None:
    door.certificate.put(pair(certificates.made(NAMES, NOW)))
    door.certificate.put(rsa_pair())
    assert await door.shown() == 7


def test_the_same_on_uvloop() -> None:
    async def scene() -> None:
        door = Door()
        await door.start()
        with pytest.raises(OSError):
            await door.shown()
        good = certificates.made(NAMES, NOW)
        door.certificate.put(pair(good))
        assert await door.shown() == good.certificate.serial_number
        await door.stop()

    uvloop.run(scene())
