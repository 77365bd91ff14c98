"""Certificates on a clock that the tests move: what is made is good, and renewal never leaves a client behind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from injector.certificates import (
    AUTHORITY_LIFE,
    SERVING_LIFE,
    TRUSTED_FIRST,
    Certificates,
    Keys,
    made,
    names_of,
    pem,
    read,
    read_authorities,
    renewed,
)

NAMES = ["meshctl-controller.meshctl.svc", "meshctl-controller.meshctl.svc.cluster.local"]
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def is_accepted(certificate: x509.Certificate, authorities: Certificates, now: datetime) -> bool:
    """By an independent verifier (RFC 5280) that trusts these authorities."""
    verifier = PolicyBuilder().store(Store(authorities)).time(now).build_server_verifier(x509.DNSName(NAMES[0]))
    try:
        verifier.verify(certificate, [])
    except VerificationError:
        return False
    return True


def stepped(keys: Keys, start: datetime, end: datetime, every: timedelta = HOUR) -> Keys:
    """Looked at again and again."""
    now = start
    while now <= end:
        keys = renewed(keys, NAMES, now)
        now += every
    return keys


# ---- what is made ----


def test_a_certificate_is_for_the_service_and_accepted_at_once_and_until_its_end() -> None:
    keys = made(NAMES, START)
    assert names_of(keys.certificate) == NAMES
    usage = keys.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    for now in (START - HOUR / 2, START, START + SERVING_LIFE - HOUR):
        assert is_accepted(keys.certificate, keys.authorities, now)
    assert not is_accepted(keys.certificate, keys.authorities, START + SERVING_LIFE + HOUR)


def test_an_authority_signs_no_other_authorities() -> None:
    (authority,) = made(NAMES, START).authorities
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_no_two_authorities_have_the_same_name() -> None:
    first, second = made(NAMES, START).authorities[0], made(NAMES, START).authorities[0]
    assert first.subject != second.subject


def test_what_is_written_is_read_again() -> None:
    keys = made(NAMES, START)
    assert read(keys.data()).data() == keys.data()


def test_an_address_can_be_a_name() -> None:
    assert names_of(made(["127.0.0.1"], START).certificate) == ["127.0.0.1"]


def rsa_key() -> bytes:
    made_key = rsa.generate_private_key(65537, 2048)
    return made_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ca.key": None}, "there is no 'ca.key'"),
        ({"tls.crt": b"nonsense"}, "PEM"),
        ({"ca.crt": b""}, "PEM"),
        ({"tls.key": b"\0"}, "PEM"),
        ({"tls.key": rsa_key()}, "elliptic curve"),
        ({"tls.key": made(NAMES, START).data()["tls.key"]}, "not that of its certificate"),
        ({"ca.key": made(NAMES, START).data()["ca.key"]}, "not that of its certificate"),
        (dict(list(made(NAMES, START).data().items())[:2]), "none of the authorities has signed"),
    ],
)
def test_what_is_not_ours_or_does_not_belong_together_is_refused(
    change: dict[str, bytes | None], complaint: str
) -> None:
    data = {name: value for name, value in {**made(NAMES, START).data(), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=complaint):
        read(data)


def test_a_bundle_that_is_none_has_no_authorities() -> None:
    keys = made(NAMES, START)
    assert read_authorities(pem(keys.authorities)) == keys.authorities
    assert read_authorities(b"") == read_authorities(b"nonsense") == ()


# ---- renewal ----


def test_nothing_is_renewed_before_half_of_its_life() -> None:
    keys = made(NAMES, START)
    assert renewed(keys, NAMES, START + SERVING_LIFE / 2 - HOUR) is keys
    again = renewed(keys, NAMES, START + SERVING_LIFE / 2)
    assert again.authorities == keys.authorities
    assert again.certificate != keys.certificate and again.key.public_key() != keys.key.public_key()


def test_other_names_make_another_certificate_at_once() -> None:
    keys = made(NAMES, START)
    again = renewed(keys, ["other.svc"], START)
    assert names_of(again.certificate) == ["other.svc"]
    assert again.authorities == keys.authorities


def test_a_new_authority_is_trusted_before_it_signs_and_the_old_one_for_as_long_as_what_it_signed() -> None:
    began = START + AUTHORITY_LIFE / 2
    before = stepped(made(NAMES, START), began - 4 * DAY, began - HOUR)
    trusted = renewed(before, NAMES, began)
    assert trusted.authorities[1:] == before.authorities
    assert trusted.certificate == before.certificate
    assert renewed(trusted, NAMES, began + TRUSTED_FIRST - HOUR / 2) is trusted
    signs = renewed(trusted, NAMES, began + TRUSTED_FIRST)
    assert is_accepted(signs.certificate, trusted.authorities[:1], began + TRUSTED_FIRST)
    assert signs.authorities == trusted.authorities
    late = stepped(signs, began, began + SERVING_LIFE)
    assert len(late.authorities) == 2
    assert stepped(late, began + SERVING_LIFE, began + SERVING_LIFE + 2 * HOUR).authorities == trusted.authorities[:1]


def test_after_years_of_absence_all_is_made_anew() -> None:
    keys = made(NAMES, START)
    now = START + 2 * AUTHORITY_LIFE
    again = renewed(keys, NAMES, now)
    assert len(again.authorities) == 1
    assert is_accepted(again.certificate, again.authorities, now)


def test_a_clock_that_was_set_back_makes_no_certificate_of_the_future_stay() -> None:
    keys = made(NAMES, START)
    now = START - 30 * DAY
    again = renewed(keys, NAMES, now)
    assert is_accepted(again.certificate, again.authorities, now)


gaps = st.one_of(
    st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(hours=3)),
    st.timedeltas(min_value=HOUR, max_value=3 * DAY),
    st.timedeltas(min_value=DAY, max_value=AUTHORITY_LIFE * 0.6),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(gaps, min_size=1, max_size=30))
def test_each_step_is_accepted_by_who_only_knows_the_step_before(gaps: list[timedelta]) -> None:
    now, keys = START, made(NAMES, START)
    for gap in gaps:
        before, now = keys, now + gap
        keys = renewed(before, NAMES, now)
        assert is_accepted(keys.certificate, keys.authorities, now)
        assert renewed(keys, NAMES, now) is keys, "what is renewed has to be done"
        assert read(keys.data()).data() == keys.data()
        if is_accepted(before.certificate, before.authorities, now):
            assert is_accepted(keys.certificate, before.authorities, now), "API servers know the old caBundle"
            assert is_accepted(before.certificate, keys.authorities, now), "replicas show the old certificate"
        else:
            assert gap > SERVING_LIFE / 2 - TRUSTED_FIRST - HOUR, "it expired though it was looked after"


def test_a_certificate_without_names_is_replaced() -> None:
    """As a script of somebody's may have put into the Secret: signed by its authority, and of no use to a client."""
    keys = made(NAMES, START)
    key = ec.generate_private_key(ec.SECP256R1())
    nameless = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])]))
        .issuer_name(keys.authorities[0].subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START - DAY)
        .not_valid_after(START + DAY)
        .sign(keys.authority_key, hashes.SHA256())
    )
    assert names_of(nameless) == []
    held = read(replace(keys, certificate=nameless, key=key).data())
    assert names_of(renewed(held, NAMES, START).certificate) == NAMES
