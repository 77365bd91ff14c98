"""The rule has teeth: a proxy that copies bytes, and single answers that are wrong in one way each."""

from collections.abc import Mapping, Sequence

import pytest

from tests.http1 import references as proxies
from tests.http1.corpus import BY_NAME, ENTRIES, Entry, Verdict
from tests.http1.corpus.entry import FOLLOWING, SMUGGLED, get, post
from tests.http1.exchange import PATIENCE_S, Exchange, Forwarded, Lane, exchange_all
from tests.http1.judge import message, problems, read_all

_OK = (200,)


def _problems(
    entry: Entry, statuses: tuple[int, ...], closed: bool, *forwarded: bytes, ended: bool = False
) -> list[str]:
    exchange = Exchange(statuses, closed, tuple(Forwarded(data, ended) for data in forwarded), b"")
    return problems(entry, exchange, read_all({entry.name: exchange}, {}))


def test_a_proxy_that_copies_is_caught_wherever_something_must_be_refused(
    references: Mapping[str, Sequence[Lane]],
) -> None:
    with proxies.copying() as lanes:
        # What is answered is over when the answer is there; the rest may stay open, and is not waited for long.
        patience_s = {entry.name: PATIENCE_S if entry.verdict is Verdict.ANSWERED else 0.1 for entry in ENTRIES}
        exchanges = exchange_all(lanes, {entry.name: message(entry, patience_s[entry.name]) for entry in ENTRIES})
    readings = read_all(exchanges, references)
    caught = {entry for entry in ENTRIES if problems(entry, exchanges[entry.name], readings)}
    assert {entry.name for entry in ENTRIES if entry.must_refuse} <= {entry.name for entry in caught}
    # Many that may be forwarded are not to be forwarded as they are.
    assert sum(entry.verdict is Verdict.EITHER for entry in caught) >= 40
    assert [entry.name for entry in caught if entry.verdict is Verdict.ANSWERED] == []


def test_refusals_and_faithful_forwarding_pass() -> None:
    assert _problems(BY_NAME["cl-te"], (400,), True) == []
    assert _problems(BY_NAME["cl-after-a-good-request"], (200, 400), True, FOLLOWING) == []
    assert _problems(BY_NAME["get"], _OK, False, get()) == []
    assert _problems(BY_NAME["bare-lf-in-fields"], _OK, False, get(b"X: a", b"Y: b")) == []
    assert _problems(BY_NAME["chunk-size-plus"], (400,), True, post(b"Transfer-Encoding: chunked"), ended=True) == []


@pytest.mark.parametrize(
    ("name", "statuses", "closed", "forwarded", "said"),
    [
        ("cl-te", (400,), False, (), "must be refused"),
        ("cl-te", (), True, (), "must be refused"),
        ("cl-te", (502,), True, (), "must be refused"),
        ("cl-te", (400,), True, (b"POST / HTTP/1.1\r\nHost: mesh",), "part of it was forwarded"),
        ("cl-te", (400,), True, (get(),), "1 requests forwarded, 0 answered"),
        ("cl-te", (200, 400), True, (get(),), "0 are right"),
        ("cl-after-a-good-request", (400,), True, (), "1 are right"),
        ("chunk-size-plus", (400,), True, (post(b"Transfer-Encoding: chunked"),), "stayed open"),
        ("get", (400,), True, (), "valid, and refused"),
        ("get", (502,), False, (get(),), "answered (502,)"),
        ("get", (), False, (), "neither answered nor refused"),
        ("get", _OK, False, (), "the backend got 0 requests"),
        ("get", _OK, False, (get(target=b"/other"),), "never sent"),
        ("get", _OK, False, (get(), get()), "the backend got 2 requests, the client 1 answers"),
        ("post-content-length", _OK, False, (post(b"Content-Length: 4") + b"hell",), "sent, but not forwarded"),
        ("post-body-like-a-request", _OK, False, (post() + FOLLOWING,), "the backend got 2 requests"),
        ("connection-names-content-length", _OK, False, (post() + SMUGGLED,), "the client 1 answers"),
        ("te-gzip-chunked", _OK, False, (BY_NAME["te-gzip-chunked"].sent,), "strict refuses"),
        ("connect-leftover-bytes", _OK, False, (BY_NAME["connect"].sent,), "tunnel's first bytes"),
    ],
)
def test_each_way_to_be_wrong_is_named(
    name: str, statuses: tuple[int, ...], closed: bool, forwarded: tuple[bytes, ...], said: str
) -> None:
    found = _problems(BY_NAME[name], statuses, closed, *forwarded)
    assert any(said in problem for problem in found), found
