"""The webhook's certificate and the authority that signs it: made, read, renewed in time. Pure; time is an argument.

ECDSA P-256 keys, certificates as RFC 5280 wants them. What is kept together (`Keys`, and the Secret's four entries) is
the serving certificate with its key, and the authorities that may have signed it, the newest first, whose key is kept.

    serving certificate   lives 7 days, renewed after half of them. So renewal is nothing rare that fails one day in a
                          year, and the controller or the API server may be away for 3 days
    authority             lives 2 years. After one a new one is added; for an hour it is only trusted, until every API
                          server has heard of it, then it signs. The old one goes when all it signed has expired

Each step leaves what is served acceptable to whoever trusts the authorities of the step before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVING_LIFE: Final = timedelta(days=7)
AUTHORITY_LIFE: Final = timedelta(days=730)
TRUSTED_FIRST: Final = timedelta(hours=1)
BACKDATED: Final = timedelta(hours=1)  # an API server's clock may be behind

CA_CERTIFICATE, CA_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"

Certificates = tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """`authorities[0]` is the newest; `authority_key` is its key, `key` that of `certificate`."""

    authorities: Certificates
    authority_key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def data(self) -> dict[str, bytes]:
        """The entries of the Secret, PEM."""
        return {
            CA_CERTIFICATE: pem(self.authorities),
            CA_KEY: _key_pem(self.authority_key),
            CERTIFICATE: pem((self.certificate,)),
            KEY: _key_pem(self.key),
        }


def made(names: Sequence[str], now: datetime) -> Keys:
    """A new authority, and a certificate of it for `names`: DNS names or IP addresses."""
    authority, authority_key = _authority(now)
    certificate, key = _serving(names, authority, authority_key, now)
    return Keys((authority,), authority_key, certificate, key)


def read(data: Mapping[str, bytes]) -> Keys:
    """What a Secret's entries hold. Raises ValueError if they are not ours, or do not belong together."""
    try:
        authorities = tuple(x509.load_pem_x509_certificates(data[CA_CERTIFICATE]))
        (certificate,) = x509.load_pem_x509_certificates(data[CERTIFICATE])
        keys = Keys(authorities, _key(data[CA_KEY]), certificate, _key(data[KEY]))
    except KeyError as error:
        raise ValueError(f"there is no {error}") from error
    except (TypeError, UnsupportedAlgorithm) as error:  # a key with a password, or of a kind that OpenSSL lacks
        raise ValueError(str(error)) from error
    if not _is_of(keys.authority_key, authorities[0]) or not _is_of(keys.key, certificate):
        raise ValueError("a key is not that of its certificate")
    if not any(_signed(certificate, authority) for authority in authorities):
        raise ValueError("none of the authorities has signed the certificate")
    return keys


def renewed(keys: Keys, names: Sequence[str], now: datetime) -> Keys:
    """What `keys` have to be now: the same object if there is nothing to do."""
    if _serving_is_due(keys, names, now) and _is_valid(keys.authorities[0], now):
        keys = _served_anew(keys, names, now)
    if _half_over(keys.authorities[0], now):
        authority, authority_key = _authority(now)
        keys = replace(keys, authorities=(authority, *keys.authorities), authority_key=authority_key)
    if not _is_usable(keys, names, now):
        keys = _served_anew(keys, names, now)
    kept = tuple(each for each in keys.authorities[1:] if _is_needed(each, keys, now))
    if len(kept) < len(keys.authorities) - 1:
        keys = replace(keys, authorities=(keys.authorities[0], *kept))
    return keys


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """One after the other."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def read_authorities(text: bytes) -> Certificates:
    """The certificates of a caBundle; none if it is not one."""
    try:
        return tuple(x509.load_pem_x509_certificates(text))
    except ValueError:
        return ()


def names_of(certificate: x509.Certificate) -> list[str]:
    """What it is for, as `made` takes it; nothing if it does not say."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(each.value) for each in names]


# ---- what is due ----


def _serving_is_due(keys: Keys, names: Sequence[str], now: datetime) -> bool:
    newest = keys.authorities[0]
    if not _is_usable(keys, names, now):
        return True
    if _signed(keys.certificate, newest):
        return _half_over(keys.certificate, now)
    return now >= _began(newest) + TRUSTED_FIRST


def _is_usable(keys: Keys, names: Sequence[str], now: datetime) -> bool:
    """Whether clients that trust the authorities accept it: else there is nothing to be careful with."""
    certificate = keys.certificate
    if not _is_valid(certificate, now) or names_of(certificate) != list(names):
        return False
    return any(_signed(certificate, each) and _is_valid(each, now) for each in keys.authorities)


def _is_needed(old: x509.Certificate, keys: Keys, now: datetime) -> bool:
    last = _began(keys.authorities[0]) + TRUSTED_FIRST + SERVING_LIFE  # when the last that it signed expires
    return now < old.not_valid_after_utc and (now < last or _signed(keys.certificate, old))


def _half_over(certificate: x509.Certificate, now: datetime) -> bool:
    began, ends = _began(certificate), certificate.not_valid_after_utc
    return not certificate.not_valid_before_utc <= now < began + (ends - began) / 2


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _began(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_before_utc + BACKDATED


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


# ---- making them ----


def _served_anew(keys: Keys, names: Sequence[str], now: datetime) -> Keys:
    certificate, key = _serving(names, keys.authorities[0], keys.authority_key, now)
    return replace(keys, certificate=certificate, key=key)


def _authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, serial = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number()
    # Each has a name of its own, so that a verifier never takes one for the other.
    name = _name(f"meshctl-injector authority {serial % 2**32:08x}")
    usage = x509.KeyUsage(**_USAGES | {"key_cert_sign": True, "crl_sign": True})
    built = (
        _builder(name, name, key, serial, now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return built.sign(key, hashes.SHA256()), key


def _serving(
    names: Sequence[str], authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(now + SERVING_LIFE, authority.not_valid_after_utc)
    built = (
        _builder(_name(names[0][:64]), authority.subject, key, x509.random_serial_number(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**_USAGES | {"digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    return built.sign(authority_key, hashes.SHA256()), key


_USAGES: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key(text: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("a key is not of an elliptic curve")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _is_of(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return key.public_key() == certificate.public_key()
