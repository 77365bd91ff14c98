"""Answers that are made while they are sent."""

import asyncio
import gzip
import http.client

import pytest

from tests.unit.admin.stage import GET_METRICS, Source, answers, ask, large_plane, received, serving
from tests.unit.fake_plane import CallStats, Plane


def test_a_large_answer_in_every_encoding(run):
    async def scenario():
        async with serving(Source(large_plane())) as server:
            plain = await ask(server, "/metrics")
            assert plain.fields["transfer-encoding"] == "chunked"
            assert len(plain.body) > 200_000

            packed = await ask(server, "/metrics", "GET", "Accept-Encoding: br;q=1.0, gzip;q=0.5")
            assert packed.fields["content-encoding"] == "gzip"
            assert len(packed.body) < len(plain.body) / 10

            refused = await ask(server, "/metrics", "GET", "Accept-Encoding: gzip;q=0.0, *")
            assert "content-encoding" not in refused.fields

            (old,) = answers(await received(server, b"GET /metrics HTTP/1.0\r\n\r\n"))
            assert "transfer-encoding" not in old.fields

            bodies = [plain.body, gzip.decompress(packed.body), refused.body, old.body]
            samples = [[line for line in body.splitlines() if b"process" not in line] for body in bodies]
            assert samples[0] == samples[1] == samples[2] == samples[3]

    run(scenario())


def test_half_a_surrogate_does_not_spoil_a_scrape(run):
    async def scenario():
        async with serving(Source(Plane(stats=[CallStats(authority="\udc80", started=3)]))) as server:
            assert 'meshctl_request_total{authority="?",' in (await ask(server, "/metrics")).text

    run(scenario())


def test_the_event_loop_turns_while_a_large_answer_is_made(run):
    async def scenario():
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        async with serving(Source(large_plane(2000))) as server:
            calls = asyncio.ensure_future(others())
            answer = await ask(server, "/metrics")
            calls.cancel()
        # At least one turn for each piece.
        assert turns > len(answer.body) / 50_000 > 20

    run(scenario())


def test_a_fault_in_the_middle_of_an_answer_shows(run, caplog):
    async def scenario():
        source = Source(large_plane())
        source.plane.stats[-1].end_s.counts = [1]
        async with serving(source) as server:
            with pytest.raises(http.client.IncompleteRead):
                answers(await received(server, GET_METRICS + b"\r\n"))
            assert (await ask(server, "/live")).status == 200

    run(scenario())
    assert "broke off" in caplog.text
