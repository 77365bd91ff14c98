"""Readers and reference proxies against the corpus: the controls are valid indeed, and witnesses are independent."""

from collections.abc import Mapping, Sequence

import pytest

from tests.http1.corpus import ENTRIES, THEMES, Verdict
from tests.http1.corpus.entry import LAST_CHUNK, SMUGGLED
from tests.http1.exchange import PATIENCE_S, Lane, exchange_all
from tests.http1.judge import message, problems, read_all
from tests.http1.readers import READERS
from tests.http1.references import REFERENCES

CONTROLS = [entry for entry in ENTRIES if entry.verdict is Verdict.ANSWERED]


def test_every_theme_has_entries_and_names_are_unique() -> None:
    assert all(theme.ENTRIES for theme in THEMES)
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


def test_smuggled_requests_are_as_long_as_the_corpus_says() -> None:
    assert len(SMUGGLED) == 43
    assert len(LAST_CHUNK + SMUGGLED) == 48


@pytest.mark.parametrize("name", READERS)
def test_readers_find_every_request_of_the_controls(name: str) -> None:
    for entry in CONTROLS:
        reading = READERS[name](entry.sent)
        assert (len(reading.requests), reading.refused) == (entry.requests, ""), entry.name


def test_the_strict_reader_refuses_what_must_be_refused() -> None:
    # Not all of it: limits are not its concern, nor whether a target and Host agree.
    lenient = {entry.name for entry in ENTRIES if entry.must_refuse and not READERS["strict"](entry.sent).refused}
    assert lenient == {
        "absolute-other-host",
        "absolute-other-port",
        "connect-other-host",
        "endless-request-line",
        "endless-value",
        "fields-together-too-long",
        "fields-too-many",
        "method-too-long",
        "name-too-long",
        "target-too-long",
        "too-long-after-a-good-request",
        "value-too-long",
    }


@pytest.mark.parametrize("name", REFERENCES)
def test_references_forward_and_answer_every_control(name: str, references: Mapping[str, Sequence[Lane]]) -> None:
    if name not in references:
        pytest.skip(f"{name} is not installed (apt-get install {name})")
    controls = [entry for entry in CONTROLS if name not in entry.not_heard]
    exchanges = exchange_all(references[name], {entry.name: message(entry, PATIENCE_S) for entry in controls})
    readings = read_all(exchanges, references)
    found = {entry.name: problems(entry, exchanges[entry.name], readings) for entry in controls}
    assert {key: value for key, value in found.items() if value} == {}
