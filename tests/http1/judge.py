"""The rule: what a proxy may make of an entry, judged by what its backend got and its client was told.

Either it refuses (a status of REFUSALS, then close; nothing of that request reached the backend), or it forwards, and
then every independent reader of the forwarded bytes finds the same requests, as many as the client got answers. That
last count matters: bytes that all readers agree on may still hold a request that the proxy does not know of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.http1 import strict
from tests.http1.corpus import Entry, Verdict
from tests.http1.exchange import Exchange, Lane, Message, exchange_all
from tests.http1.readers import READERS
from tests.http1.strict import Reading

REFUSALS = frozenset({400, 431, 501, 505})

# What a reader found in some bytes: by the reader's name, then by those bytes.
Readings = Mapping[str, Mapping[bytes, Reading]]


def message(entry: Entry, patience_s: float, piece_bytes: int = 2**16) -> Message:
    """How to send an entry. Waiting is short where the right thing is to wait for bytes that never come, and no answer
    comes before."""
    answers = 1 if entry.requests is None else entry.requests + entry.must_refuse
    never_answered = entry.unfinished and not entry.requests
    return Message(entry.sent, answers, min(patience_s, 0.3) if never_answered else patience_s, piece_bytes)


def read_all(exchanges: Mapping[str, Exchange], references: Mapping[str, Sequence[Lane]]) -> Readings:
    """All that was forwarded in `exchanges`, as each reader reads it; `references` are proxies that read too."""
    sent = {each.data for exchange in exchanges.values() for each in exchange.forwarded}
    readings = {name: {data: reader(data) for data in sent} for name, reader in READERS.items()}
    for name, lanes in references.items():
        # What is not to the letter is a finding already, and need not be replayed.
        strictly = {data: reading for data, reading in readings["strict"].items() if not reading.refused}
        messages = {data: Message(data, len(reading.requests)) for data, reading in strictly.items()}
        replayed = exchange_all(lanes, messages)
        readings[name] = {data: reading_behind(exchange) for data, exchange in replayed.items()}
    return readings


def reading_behind(exchange: Exchange) -> Reading:
    """What a proxy read, seen from its backend."""
    readings = [strict.read(each.data) for each in exchange.forwarded]
    requests = tuple(request for reading in readings for request in reading.requests)
    errors = [status for status in exchange.statuses if status >= 400]
    rest = readings[-1].rest if readings else b""
    return Reading(requests, rest, f"answered {errors}" if errors else "", any(each.tunnel for each in readings))


def problems(entry: Entry, exchange: Exchange, readings: Readings) -> list[str]:
    """What is wrong with what the proxy did; empty when nothing is."""
    if exchange.closed and exchange.statuses and exchange.statuses[-1] in REFUSALS:
        return [*_in_refusal(entry, exchange), *_in_agreement(entry, exchange, readings)]
    return [*_in_forwarding(entry, exchange), *_in_agreement(entry, exchange, readings)]


def _whole(exchange: Exchange) -> int:
    """How many requests the backend got, by the strict reading."""
    return sum(len(strict.read(each.data).requests) for each in exchange.forwarded)


def _in_refusal(entry: Entry, exchange: Exchange) -> Iterator[str]:
    answered = exchange.statuses[:-1]
    if entry.verdict is Verdict.ANSWERED:
        yield f"valid, and refused with {exchange.statuses[-1]}"
    if set(answered) - {200}:
        yield f"answered {exchange.statuses}"
    if len(answered) != _whole(exchange):
        yield f"{_whole(exchange)} requests forwarded, {len(answered)} answered before the refusal"
    if entry.must_refuse and len(answered) != entry.requests:
        yield f"{len(answered)} requests answered before the refusal, {entry.requests} are right"
    for each in exchange.forwarded:
        rest = strict.read(each.data).rest
        if rest and not entry.in_body:
            yield f"refused, but part of it was forwarded: {rest[:200]!r}"
        elif rest and not each.ended:
            yield f"refused in mid-body, but the backend's connection stayed open after {rest[-200:]!r}"


def _in_forwarding(entry: Entry, exchange: Exchange) -> Iterator[str]:
    whole = _whole(exchange)
    if entry.must_refuse:
        yield f"must be refused; answered {exchange.statuses}, {'closed' if exchange.closed else 'not closed'}"
    if set(exchange.statuses) - {200}:
        yield f"answered {exchange.statuses}"
    if not exchange.statuses and not entry.unfinished:
        yield "neither answered nor refused"
    if len(exchange.statuses) != whole:
        yield f"the backend got {whole} requests, the client {len(exchange.statuses)} answers"
    if entry.requests is not None and not entry.must_refuse and whole != entry.requests:
        yield f"{whole} requests forwarded, {entry.requests} sent"
    own = strict.read(entry.sent)
    if not own.refused and not entry.must_refuse:
        yield from _altered(own, exchange)


def _altered(own: Reading, exchange: Exchange) -> Iterator[str]:
    """What was sent to the letter of the RFC arrives as it was."""
    readings = [strict.read(each.data) for each in exchange.forwarded]
    forwarded = Counter(request for reading in readings for request in reading.requests)
    for request in forwarded - Counter(own.requests):
        yield f"forwarded, but never sent: {request}"
    for request in Counter(own.requests) - forwarded:
        yield f"sent, but not forwarded: {request}"
    if own.tunnel and own.rest not in [reading.rest for reading in readings if reading.tunnel]:
        yield f"the tunnel's first bytes were not forwarded: {own.rest!r}"


def _in_agreement(entry: Entry, exchange: Exchange, readings: Readings) -> Iterator[str]:
    for each in exchange.forwarded:
        strictly = readings["strict"][each.data]
        broken_off = bool(strictly.rest) and entry.in_body and each.ended
        for name, by_data in readings.items():
            reading = by_data.get(each.data)
            if reading is None or name in entry.not_heard:
                continue
            if reading.refused and not broken_off:
                yield f"{name} refuses what was forwarded ({reading.refused}): {each.data[:300]!r}"
            elif reading.requests != strictly.requests or (strictly.tunnel and reading.rest != strictly.rest):
                found = "; ".join(map(str, reading.requests)) or "no request"
                yield f"{name} reads otherwise: {found}; what was forwarded: {each.data[:300]!r}"
