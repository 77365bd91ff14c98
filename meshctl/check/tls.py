"""Whether the API server will accept the webhook's certificate: a TLS handshake in memory, both ends ours.

That asks everything at once that a real call would: that the key fits the certificate, that the CA bundle vouches for
it, that it is valid now and for that name (RFC 5280, RFC 9525; names are subjectAltName's only, as in Go's TLS). No
socket is opened, and the key is never on a disk.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Fault(StrEnum):
    """Why a certificate is not accepted."""

    UNREADABLE = "unreadable"
    KEY = "key"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    CA = "ca"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Refused:
    """The certificate is not accepted; `detail` is TLS' own word for it."""

    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a certificate begins and ends to be valid, in seconds since 1970."""

    begins_s: float
    ends_s: float


_ONE: Final = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

# X509_V_ERR_ of OpenSSL's x509_vfy.h
_FAULTS: Final = {
    9: Fault.NOT_YET,
    10: Fault.EXPIRED,
    62: Fault.NAME,
}


def accepted(ca_pem: bytes, certificate_pem: bytes, key_pem: bytes, name: str) -> Lifetime | Refused:
    """The lifetime of the certificate if a client that trusts only `ca_pem` takes it for `name` now."""
    try:
        server = _server(certificate_pem, key_pem)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        return Refused(Fault.KEY if mismatch else Fault.UNREADABLE, error.reason or str(error))
    refused = Refused(Fault.CA, "there is no CA certificate")
    # One by one, as Go does it: of two authorities with one name OpenSSL would only try the first.
    for authority in _ONE.findall(ca_pem):
        found = _accepted(authority, server, name)
        if isinstance(found, Lifetime):
            return found
        if refused.fault is Fault.CA:
            refused = found
    return refused


def _accepted(ca_pem: bytes, server: ssl.SSLContext, name: str) -> Lifetime | Refused:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.hostname_checks_common_name = False
    try:
        client.load_verify_locations(cadata=ca_pem.decode("ascii"))
        return _lifetime(_handshake(client, server, name))
    except ssl.SSLCertVerificationError as error:
        return Refused(_FAULTS.get(error.verify_code, Fault.CA), error.verify_message)
    except (ssl.SSLError, ValueError) as error:
        return Refused(Fault.CA, str(error))


def authorities(ca_pem: bytes) -> list[Lifetime]:
    """The lifetimes of the certificates in a CA bundle; none if it cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        return []
    return [_lifetime(each) for each in context.get_ca_certs()]


def _server(certificate_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _file(certificate_pem) as certificate, _file(key_pem) as key:
        context.load_cert_chain(certificate, key, password=lambda: b"")  # never ask the terminal
    return context


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A file in memory, as `ssl` reads keys from files only."""
    descriptor = os.memfd_create("meshctl")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> dict[str, Any]:
    """The certificate that the client accepted. Raises ssl.SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(to_client, to_server, server_hostname=name)
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):  # TLS 1.3 needs one way and back, TLS 1.2 two
        if _step(asks):
            break
        _step(answers)
    return asks.getpeercert() or {}


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _lifetime(certificate: dict[str, Any]) -> Lifetime:
    return Lifetime(
        ssl.cert_time_to_seconds(certificate["notBefore"]), ssl.cert_time_to_seconds(certificate["notAfter"])
    )
