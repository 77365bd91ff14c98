"""What two samples of metrics say of the time between them. The pages are the proxy's own text."""

import math

import pytest

from meshctl.rates import Place, cells, quantile, rows, sample

CALL = 'authority="a",cluster="voting:80",endpoint="10.0.0.1:80",method="x.V/Vote",pod="v-1",protocol="http2"'
OTHER = CALL.replace("10.0.0.1", "10.0.0.2").replace("v-1", "v-2")
INBOUND = CALL.replace("voting:80", "inbound").replace("v-1", "")
TCP = 'authority="",cluster="db:5432",endpoint="10.0.0.9:5432",pod=""'


def page(success: int, failure: int = 0, labels: str = CALL, in_flight: int = 0, fast: int = 0) -> str:
    """`fast` of the successful calls took up to 10 ms, the others up to 100."""
    ended = f'{labels},grpc_status="0",http_status="200"'
    total = success + failure
    return f"""# HELP meshctl_response_total Calls that ended.
# TYPE meshctl_response_total counter
meshctl_response_total{{classification="success",flag="",{ended}}} {success}.0
meshctl_response_total{{classification="failure",flag="timeout",{ended}}} {failure}.0
meshctl_response_total{{classification="retried",flag="refused",{ended}}} 1000.0
# TYPE meshctl_response_seconds histogram
meshctl_response_seconds_bucket{{{labels},le="0.01"}} {fast}.0
meshctl_response_seconds_bucket{{{labels},le="0.1"}} {total}.0
meshctl_response_seconds_bucket{{{labels},le="+Inf"}} {total}.0
meshctl_response_seconds_count{{{labels}}} {total}.0
# TYPE meshctl_calls_in_flight gauge
meshctl_calls_in_flight{{{labels}}} {in_flight}.0
"""


def test_calls_a_second_success_and_times() -> None:
    before, after = sample(page(100, fast=100)), sample(page(190, 10, fast=150, in_flight=3))
    (row,) = rows(before, after, 10.0, "endpoint")
    assert row.place == Place("outbound", "voting:80", "http2", "x.V/Vote", "10.0.0.1:80", "v-1")
    assert row.per_s == 10.0
    assert row.success_percent == 90.0
    assert row.in_flight == 3
    assert (row.p50_ms, row.p95_ms) == (pytest.approx(10.0), pytest.approx(91.0))


def test_rows_are_told_apart_as_finely_as_asked_and_the_busiest_comes_first() -> None:
    after = sample(page(100, 100) + page(400, labels=OTHER) + page(50, labels=INBOUND))
    by_endpoint = rows({}, after, 1.0, "endpoint")
    assert [(row.place.pod, row.per_s) for row in by_endpoint] == [("v-2", 400.0), ("v-1", 200.0), ("", 50.0)]
    first, second = rows({}, after, 1.0, "cluster")
    assert first.place == Place("outbound", "voting:80", "http2")
    assert (first.per_s, first.success_percent) == (600.0, pytest.approx(83.33, abs=0.01))
    assert second.place.direction == "inbound"
    assert {row.place.method for row in rows({}, after, 1.0, "method")} == {"x.V/Vote"}


def test_a_counter_that_fell_was_begun_anew() -> None:
    (row,) = rows(sample(page(1000)), sample(page(30)), 10.0, "cluster")
    assert row.per_s == 3.0


def test_what_did_not_happen_has_no_row_and_what_still_runs_has_one() -> None:
    assert rows(sample(page(5)), sample(page(5)), 1.0, "endpoint") == []
    (row,) = rows(sample(page(5)), sample(page(5, in_flight=1)), 1.0, "endpoint")
    assert (row.per_s, row.success_percent, row.p50_ms, row.in_flight) == (0.0, None, None, 1)


def test_connections_are_counted_without_times() -> None:
    text = f"""# TYPE meshctl_tcp_close_total counter
meshctl_tcp_close_total{{classification="success",flag="",{TCP}}} 4.0
# TYPE meshctl_tcp_connections gauge
meshctl_tcp_connections{{{TCP}}} 2.0
"""
    (row,) = rows({}, sample(text), 2.0, "endpoint")
    assert row.place == Place("outbound", "db:5432", "tcp", "", "10.0.0.9:5432", "")
    assert (row.per_s, row.in_flight, row.p99_ms) == (2.0, 2, None)


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, None),
        ({1.0: 0.0, math.inf: 0.0}, 0.5, None),
        ({1.0: 10.0, math.inf: 10.0}, 0.5, 0.5),
        ({1.0: 0.0, 2.0: 10.0, math.inf: 10.0}, 0.9, 1.9),
        ({1.0: 5.0, 2.0: 10.0, math.inf: 10.0}, 0.5, 1.0),
        ({1.0: 1.0, math.inf: 10.0}, 0.99, 1.0),
    ],
)
def test_quantiles_are_interpolated_within_a_bucket(
    buckets: dict[float, float], share: float, expected: float | None
) -> None:
    assert quantile(buckets, share) == (expected if expected is None else pytest.approx(expected))


def test_a_table_has_the_columns_that_rows_are_told_apart_by() -> None:
    after = sample(page(3))
    for by, names in (("cluster", 3), ("method", 4), ("endpoint", 5)):
        heads, lines = cells(rows({}, after, 1.0, by), by)
        assert heads[names] == "CALLS/S"
        assert [len(line) for line in lines] == [len(heads)]


def test_text_of_something_else_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        sample("meshctl_response_total{ what is this")
    assert sample("<html>") == {}
