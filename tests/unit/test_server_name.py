"""The host name that a TLS ClientHello asks for: from OpenSSL's hellos, in pieces, and from broken ones."""

import ssl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.net.detection import MOST_HELLO_BYTES, MOST_HELLO_RECORDS, Kind, detect, server_name
from tests.unit.test_detection import first_answer

NAME = "voting.emojivoto.svc.cluster.local"
LONGEST = ".".join(["a" * 63] * 3 + ["b" * 61])


def hello_of(name: str | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, alpn: int = 0) -> bytes:
    """The ClientHello record that OpenSSL sends; `alpn` protocols make it longer."""
    client = ssl.create_default_context()
    client.check_hostname = False
    client.maximum_version = version
    client.set_alpn_protocols([f"{number:0200}" for number in range(alpn)])
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


def vector(size_bytes: int, content: bytes) -> bytes:
    return len(content).to_bytes(size_bytes, "big") + content


def records_of(message: bytes, most_bytes: int) -> bytes:
    """A handshake message in records of at most so many bytes."""
    pieces = [message[at : at + most_bytes] for at in range(0, len(message), most_bytes)]
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def hello_with(extensions: bytes | None) -> bytes:
    """A ClientHello of our own, well-formed up to its extensions."""
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\x00")
    body += b"" if extensions is None else vector(2, extensions)
    return records_of(b"\x01" + vector(3, body), 16384)


def name_extension(*entries: tuple[int, bytes]) -> bytes:
    return vector(2, b"".join(bytes((kind,)) + vector(2, name) for kind, name in entries))


def hello_asking(*entries: tuple[int, bytes]) -> bytes:
    return hello_with(b"\x00\x00" + vector(2, name_extension(*entries)))


HELLO = hello_of(NAME)
MESSAGE = HELLO[5:]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [NAME, "localhost", "xn--mnchen-3ya.de", "a_b.c-d.e1", LONGEST])
def test_the_name_is_found_when_the_hello_is_complete(version: ssl.TLSVersion, name: str) -> None:
    hello = hello_of(name, version=version)
    assert first_answer(server_name, (False, ""), hello) == ((True, name), len(hello))
    assert first_answer(detect, None, hello) == (Kind.TLS, 6)
    assert server_name(bytearray(hello)) == server_name(memoryview(hello)) == (True, name)


def test_what_follows_the_hello_does_not_matter() -> None:
    assert server_name(HELLO + b"\x14\x03\x03\x00\x01\x01") == (True, NAME)
    assert server_name(HELLO + bytes(MOST_HELLO_BYTES)) == (True, NAME)


def test_upper_case_is_lowered() -> None:
    assert server_name(hello_of("Voting.Emojivoto.SVC")) == (True, "voting.emojivoto.svc")


def test_a_hello_without_a_name_is_complete_and_has_none() -> None:
    for hello in (hello_of(None), hello_of("127.0.0.1"), hello_with(None), hello_with(b"")):
        assert first_answer(server_name, (False, ""), hello) == ((True, ""), len(hello))


@pytest.mark.parametrize("most_bytes", [100, 63, 60, 300])
def test_a_hello_may_span_records(most_bytes: int) -> None:
    hello = records_of(MESSAGE, most_bytes)
    assert first_answer(server_name, (False, ""), hello) == ((True, NAME), len(hello))


def test_a_hello_in_more_records_than_allowed_is_given_up() -> None:
    size_bytes = -(-len(MESSAGE) // MOST_HELLO_RECORDS)
    assert server_name(records_of(MESSAGE, size_bytes)) == (True, NAME)
    crumbs = records_of(MESSAGE, 1)
    assert first_answer(server_name, (False, ""), crumbs[:200]) == ((True, ""), MOST_HELLO_RECORDS * 6)


def test_a_hello_as_long_as_allowed_is_read_and_a_longer_one_given_up() -> None:
    assert 15_000 < len(hello_of(NAME, alpn=75)) < MOST_HELLO_BYTES
    assert server_name(hello_of(NAME, alpn=75)) == (True, NAME)
    longer = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfd"  # four bytes of a header, then one byte too many
    assert server_name(longer) == (True, "")
    longest = (b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc").ljust(MOST_HELLO_BYTES - 1, b"\x00")
    assert server_name(longest) == (False, "")
    assert server_name(longest + b"\x00") == (True, "")  # the header of the record counts, too


BAD_LABELS = [b"", b".", b"a.", b".a", b"a..b", b"-a.b", b"a-.b", b"a" * 64, LONGEST.encode() + b"c"]
BAD_CHARACTERS = [b"a b", b"a\x00b", b"a\n", "münchen.de".encode(), b"a/b", b"a:443", b"*.a"]
ADDRESSES = [b"10.0.0.1", b"1", b"::1", b"[::1]"]


@pytest.mark.parametrize("name", [*BAD_LABELS, *BAD_CHARACTERS, *ADDRESSES])
def test_what_is_no_dns_name_is_not_returned(name: bytes) -> None:
    assert server_name(hello_asking((0, b"a.b"))) == (True, "a.b")
    assert server_name(hello_asking((0, name))) == (True, "")


def test_a_hello_that_goes_on_after_its_extensions_has_no_name() -> None:
    message = bytearray(MESSAGE + b"\x00")
    message[1:4] = (len(message) - 4).to_bytes(3, "big")
    assert server_name(records_of(bytes(message), 16384)) == (True, "")


def test_a_name_of_another_type_is_passed_over() -> None:
    assert server_name(hello_asking((1, b"x.y"), (0, b"a.b"))) == (True, "a.b")
    assert server_name(hello_asking((1, b"x.y"))) == (True, "")


def test_of_two_names_none_is_returned() -> None:
    assert server_name(hello_asking((0, b"a.b"), (0, b"c.d"))) == (True, "")
    extension = b"\x00\x00" + vector(2, name_extension((0, b"a.b")))
    assert server_name(hello_with(extension)) == (True, "a.b")
    assert server_name(hello_with(extension * 2)) == (True, "")


@pytest.mark.parametrize(
    "extensions",
    [
        pytest.param(b"\x00\x00\x00\x00", id="empty extension"),
        pytest.param(b"\x00\x00" + vector(2, vector(2, b"")), id="empty list"),
        pytest.param(b"\x00\x00" + vector(2, name_extension((0, b"a.b")) + b"\x00"), id="more than the list"),
        pytest.param(b"\x00\x00" + vector(2, name_extension((0, b"a.b"))) + b"\x00", id="half an extension"),
        pytest.param(b"\x00\x00" + vector(2, vector(2, b"\x00\x00\x04a.b")), id="name longer than the list"),
    ],
)
def test_a_malformed_extension_brings_no_name(extensions: bytes) -> None:
    assert server_name(hello_with(extensions)) == (True, "")


@pytest.mark.parametrize(
    ("data", "count"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1, id="no TLS"),
        pytest.param(b"\x16\x02" + HELLO[2:], 2, id="SSL 2"),
        pytest.param(b"\x16\x03\x03\x00\x00" + HELLO, 5, id="empty record"),
        pytest.param(b"\x16\x03\x03\x40\x01" + MESSAGE, 5, id="record too long"),
        pytest.param(b"\x16\x03\x03\x00\x51\x02", 6, id="ServerHello"),
        pytest.param(records_of(MESSAGE[:100], 100) + b"\x15\x03\x03\x00\x02\x01\x00", 106, id="alert in the middle"),
    ],
)
def test_what_cannot_become_a_hello_is_complete_at_once(data: bytes, count: int) -> None:
    assert first_answer(server_name, (False, ""), data) == ((True, ""), count)


@given(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(HELLO)))
@example([(8, 0)], len(HELLO))
@example([(43, 255)], len(HELLO))
def test_a_mutated_hello_never_raises(changes: list[tuple[int, int]], cut: int) -> None:
    hello = bytearray(HELLO)
    for at, value in changes:
        hello[at] = value
    complete, name = server_name(hello)
    # Reading it in pieces ends the same way.
    assert server_name(hello[:cut]) in ((False, ""), (complete, name))
    assert complete or not name


@given(st.binary(max_size=60), st.integers(0, 8))
def test_any_extensions_never_raise(extensions: bytes, most_bytes: int) -> None:
    hello = hello_with(b"\x00\x00" + vector(2, extensions))
    assert server_name(hello)[0]
    assert server_name(records_of(hello[5:], 10 + most_bytes))[1] == server_name(hello)[1]
    assert server_name(hello_with(extensions))[0]


@given(st.binary(max_size=60))
def test_any_bytes_never_raise(data: bytes) -> None:
    first_answer(server_name, (False, ""), data)
    first_answer(server_name, (False, ""), b"\x16\x03\x01" + data)
