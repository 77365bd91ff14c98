"""The certificate that the webhook shows, as the Secret has it: read again when the Secret changes.

A new one is for new connections; those that are open go on as they are, with what they agreed on. A Secret that
vanishes or becomes unusable changes nothing: the last good certificate stays. Private keys never reach a disk, since
OpenSSL is given a file that is memory.

Knows nothing of who makes certificates.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from injector.certificates import CERTIFICATE, KEY
from injector.metrics import Metrics
from proxy.discovery.kubernetes.api import Json

log = logging.getLogger(__name__)

PROTOCOLS: Final = ["http/1.1"]


class ServingCertificate:
    """A sink of the one Secret. `door` is the TLS context to listen with, good for as long as the process runs."""

    def __init__(self, metrics: Metrics, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called when the Secret has changed in any way."""
        self._metrics = metrics
        self._on_change = on_change
        self._shown: bytes | None = None
        self._current: ssl.SSLContext | None = None
        self.expires: datetime | None = None
        self.door = _context()
        self.door.sni_callback = self._show

    @property
    def is_loaded(self) -> bool:
        return self._current is not None

    # ---- what the API server says ----

    def replace(self, items: Sequence[Json]) -> None:
        for item in items:
            self._load(item)
        self._on_change()

    def put(self, item: Json) -> None:
        self._load(item)
        self._on_change()

    def drop(self, _: Json) -> None:
        log.warning("the webhook's Secret was deleted; its last certificate stays")
        self._on_change()

    # ---- within ----

    def _load(self, secret: Json) -> None:
        try:
            data = entries(secret)
            pair = data[CERTIFICATE] + b"\n" + data[KEY]
            if pair == self._shown:
                return
            context = _context()
            _load_pair(context, pair)
            first, *_ = x509.load_pem_x509_certificates(data[CERTIFICATE])
        except (KeyError, ValueError, OSError) as error:  # ssl.SSLError is an OSError
            log.error("the webhook's Secret has no usable certificate, the last one stays: %s", error)
            return
        self._current, self._shown, self.expires = context, pair, first.not_valid_after_utc
        self._metrics.certificate_expiry.set(self.expires.timestamp())
        log.info("webhook certificate %x, until %s", first.serial_number, self.expires.isoformat())

    def _show(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> int | None:
        """Called in each handshake, with or without a server name."""
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None


def entries(secret: Json) -> dict[str, bytes]:
    """The decoded entries of a Secret. Raises ValueError."""
    data = secret.get("data")
    if not isinstance(data, dict):
        return {}
    try:
        return {str(name): base64.b64decode(value, validate=True) for name, value in data.items()}
    except (TypeError, binascii.Error) as error:
        raise ValueError(f"not base64: {error}") from error


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    return context


def _load_pair(context: ssl.SSLContext, pair: bytes) -> None:
    descriptor = os.memfd_create("meshctl-webhook-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pair)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)
