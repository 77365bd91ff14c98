"""A certificate authority for one cluster of the tests, and what it signs: PEM files in a directory."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and of its private key."""

    certificate: Path
    key: Path


class Authority:
    """An authority of its own, in `directory`; `pair` has its certificate, which is what others trust."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "meshctl tests")])
        constraints = (x509.BasicConstraints(ca=True, path_length=None), _usage(signs=True))
        self.pair = self._write("ca", self._key, self._signed(self._name, self._key, constraints))

    def server(self, name: str, hosts: Sequence[str]) -> Pair:
        """For a server that is called by any of `hosts`: names and addresses."""
        return self._issue(name, _subject(name), (x509.SubjectAlternativeName([_host(host) for host in hosts]),))

    def client(self, name: str, *groups: str) -> Pair:
        """For a user of the API server, who is in `groups`."""
        return self._issue(name, _subject(name, *groups), ())

    def _issue(self, name: str, subject: x509.Name, extensions: Sequence[x509.ExtensionType]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(name, key, self._signed(subject, key, (*extensions, _usage(signs=False))))

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: Sequence[x509.ExtensionType]
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALID)
            .not_valid_after(now + VALID)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=not isinstance(extension, x509.SubjectAlternativeName))
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Pair:
        file = name.replace(":", "-")
        pair = Pair(self._directory / f"{file}.crt", write_key(self._directory / f"{file}.key", key))
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return pair


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | None = None) -> Path:
    """Writes a private key, a new one unless given."""
    # In the one format that the API server takes for the keys of service accounts, too.
    written = (key or ec.generate_private_key(ec.SECP256R1())).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(written)
    return path


def _subject(name: str, *groups: str) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
