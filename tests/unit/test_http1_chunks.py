"""Where a chunked body ends, and which are malformed (RFC 9112, section 7.1)."""

import pytest

from proxy.dataplane.http1inspect import inspect_chunks

LAST = b"0\r\n\r\n"

GOOD = {
    "only the last chunk": (LAST, 0),
    "two chunks": (b"5\r\nhello\r\n1\r\n!\r\n" + LAST, 6),
    "payload that looks like the end": (b"5\r\n0\r\n\r\n\r\n" + LAST, 5),
    "payload of any bytes": (b"3\r\n\x00\r\n\r\n" + LAST, 3),
    "hexadecimal, either case": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + LAST, 20),
    "zeros in front": (b"0000005\r\nhello\r\n" + LAST, 5),
    "several zeros": (b"000\r\n\r\n", 0),
    "15 digits": (b"000000000000005\r\nhello\r\n" + LAST, 5),
    "extensions": (b"5;a=b;c;d=!e\r\nhello\r\n0;x\r\n\r\n", 5),
    "extensions of 254 bytes": (b"5;" + b"x" * 254 + b"\r\nhello\r\n" + LAST, 5),
    "trailers": (b"0\r\nDigest: x\r\nx-y:\tz \xff\r\nempty:\r\n\r\n", 0),
    "trailer named nearly like a framing field": (b"0\r\nContent_Length: 5\r\nxhost: x\r\n\r\n", 0),
    "trailer with a long name": (b"0\r\n" + b"transfer-encoding" * 9 + b": x\r\n\r\n", 0),
    "16 KiB of trailers": (b"0\r\nx: " + b"y" * (16384 - 7) + b"\r\n\r\n", 0),
}

BAD = {
    "no size": (b"\r\n", "chunk size"),
    "no size, an extension": (b";a\r\n", "chunk size"),
    "blank before the size": (b" 5\r\n", "chunk size"),
    "blank after the size": (b"5 \r\n", "chunk size"),
    "blank before the semicolon": (b"5 ;a\r\n", "chunk size"),
    "sign": (b"+5\r\n", "chunk size"),
    "minus": (b"-5\r\n", "chunk size"),
    "0x": (b"0x5\r\n", "chunk size"),
    "no hexadecimal digit": (b"5g\r\n", "chunk size"),
    "underscore": (b"5_0\r\n", "chunk size"),
    "8-bit digit": (b"5\xb2\r\n", "chunk size"),
    "16 digits": (b"0000000000000005\r\n", "too long"),
    "extension without a name": (b"5;\r\n", "extension"),
    "extension with a value only": (b"5;=b\r\n", "extension"),
    "extension with an empty value": (b"5;a=\r\n", "extension"),
    "extension with two values": (b"5;a=b=c\r\n", "extension"),
    "two semicolons": (b"5;;a\r\n", "extension"),
    "quoted extension": (b'5;a="b"\r\n', "extension"),
    "blank in an extension": (b"5; a\r\n", "extension"),
    "bare LF after the size": (b"5\nhello", "chunk size"),
    "bare CR after the size": (b"5\rhello", "bare CR"),
    "bare LF after an extension": (b"5;a\nhello", "extension"),
    "NUL in an extension": (b"5;\0\r\n", "extension"),
    "8-bit character in an extension": (b"5;\xe9\r\n", "extension"),
    "bare CR in an extension": (b"5;a\rb", "bare CR"),
    "extensions of 255 bytes": (b"5;" + b"x" * 255 + b"\r\n", "too long"),
    "chunk longer than its size": (b"5\r\nhello!\r\n", "longer"),
    "chunk shorter than its size": (b"5\r\nhell\r\n\r\n", "longer"),
    "bare LF after a chunk": (b"5\r\nhello\n0\r\n", "longer"),
    "CR without LF after a chunk": (b"5\r\nhello\r0\r\n", "longer"),
    "bare LF at the end": (b"0\r\n\n", "trailer"),
    "bare CR at the end": (b"0\r\n\rx", "bare CR"),
    "folded trailer": (b"0\r\nx: y\r\n z\r\n\r\n", "trailer name"),
    "blank before the colon": (b"0\r\nx : y\r\n\r\n", "trailer name"),
    "no colon": (b"0\r\nx\r\n\r\n", "trailer name"),
    "empty name": (b"0\r\n: y\r\n\r\n", "trailer name"),
    "NUL in a trailer": (b"0\r\nx: \0\r\n\r\n", "control"),
    "bare LF in trailers": (b"0\r\nx: y\n\r\n", "control"),
    "bare CR in trailers": (b"0\r\nx: y\rz\r\n\r\n", "bare CR"),
    "more than 16 KiB of trailers": (b"0\r\nx: " + b"y" * (16385 - 7) + b"\r\n\r\n", "too long"),
    "endless trailer name": (b"0\r\n" + b"x" * 16385, "too long"),
}


@pytest.mark.parametrize("rule", GOOD)
def test_good(rule: str) -> None:
    data, payload = GOOD[rule]
    assert inspect_chunks([data]) == (len(data), payload, True, None)
    assert inspect_chunks([data[i : i + 1] for i in range(len(data))]) == (len(data), payload, True, None)
    assert inspect_chunks([data[:-1]]) == (len(data) - 1, payload, False, None)


@pytest.mark.parametrize("rule", BAD)
def test_malformed(rule: str) -> None:
    data, why = BAD[rule]
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        length, _, done, error = inspect_chunks(pieces)
        assert (length, done) == (-1, False)
        assert error is not None
        assert why in error


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Trailer",
        "TE",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Upgrade",
        "HTTP2-Settings",
        "Expect",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Cache-Control",
        "Forwarded",
        "X-Forwarded-For",
    ],
)
def test_fields_that_trailers_may_not_have(name: str) -> None:
    for trailer in (name, name.lower(), name.upper()):
        assert (
            inspect_chunks([f"0\r\nx: y\r\n{trailer}: 1\r\n\r\n".encode()])[3] == "a field that trailers may not have"
        )


def test_the_next_message_is_not_of_the_body() -> None:
    data = b"1\r\nx\r\n" + LAST
    assert inspect_chunks([data + b"GET / HTTP/1.1\r\n"]) == (len(data), 1, True, None)
    assert inspect_chunks([data, b"\0\0"]) == (len(data), 1, True, None)


def test_the_greatest_chunk_is_only_counted() -> None:
    assert inspect_chunks([b"fffffffffffffff\r\n", b"x" * 1000, b"y"]) == (1018, 1001, False, None)


def test_payload_before_what_is_malformed_is_counted() -> None:
    assert inspect_chunks([b"5\r\nhello\r\nx"])[:2] == (-1, 5)
