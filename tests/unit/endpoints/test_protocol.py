"""The xDS protocol, as a server keeps it: nonces, refusals, names given up, limits, and what is no request at all."""

import asyncio

import grpc
import grpc.aio
import pytest

from injector.endpoints.stream import Limits
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.endpoints.stage import NOT_FOUND, TIMEOUT_S, Sidecar, served, sidecar
from tests.unit.endpoints.test_changes import HOURS, NO_PAUSE, VOTING, pods, row
from tests.unit.kubernetes.stage import filled, put

pytestmark = pytest.mark.asyncio

METHOD = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"


async def test_an_answered_response_is_not_sent_again() -> None:
    async with served(filled(service(), pods(1)), limits=NO_PAUSE) as it, sidecar(it, VOTING) as web:
        await web.read()
        await web.want(VOTING)
        await web.has_nothing_more()


async def test_a_request_that_answers_an_older_response_is_not_answered() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING) as web:
        await web.read()
        put(catalog, pods(2))
        await web.read()
        await web.want(VOTING, "nobody:80", nonce="1")
        await it.reaches(1, "stale_requests_total")
        assert it.metric("subscriptions") == 1
        put(catalog, pods(3))
        await web.read()
        assert web.has == {VOTING: [row(3)]}
        await web.read()
        assert web.has == {VOTING: [row(3)], "nobody:80": NOT_FOUND}, "the answer to the newer one says all"


async def test_a_name_given_up_in_a_stale_request_and_wanted_again_is_told_anew() -> None:
    catalog = filled(service(), pods(1), service("web", ips=["10.96.0.2"]), pods(9, name="w", of="web"))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING, "web:8080") as web:
        await web.read()
        await it.reaches(1, "responses_total")
        put(catalog, pods(2))
        await it.reaches(2, "responses_total")
        await web.want(VOTING)
        await web.want(VOTING, "web:8080")
        await it.reaches(2, "stale_requests_total")
        await web.read()
        assert web.has == {VOTING: [row(2)]}
        await web.read()
        assert web.has == {VOTING: [row(2)], "web:8080": [row(9)]}


async def test_a_response_that_is_on_its_way_makes_a_request_stale_and_the_answer_to_it_says_all() -> None:
    catalog = filled(service(), pods(1), service("web", ips=["10.96.0.2"]), pods(9, name="w", of="web"))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING) as web:
        await web.read()
        await it.reaches(1, "responses_total")
        put(catalog, pods(2))
        await it.reaches(2, "responses_total")
        await web.want(VOTING, "web:8080", nonce="1")
        await it.reaches(1, "stale_requests_total")
        assert len((await web.read()).resources) == 1
        await web.read()
        assert web.has == {VOTING: [row(2)], "web:8080": [row(9)]}


async def test_names_asked_for_before_the_first_response_are_answered() -> None:
    async with served(filled(service(), pods(1))) as it, sidecar(it) as web:
        await web.want(VOTING)
        await web.read()
        assert web.has == {VOTING: [row(1)]}


async def test_a_nonce_of_an_earlier_stream_does_not_make_the_first_request_stale() -> None:
    async with served(filled(service(), pods(1))) as it:
        web = Sidecar(it)
        try:
            await web.want(VOTING, nonce="17")
            await web.read()
            assert web.has == {VOTING: [row(1)]}
        finally:
            await web.close()


async def test_what_a_sidecar_says_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with served(filled(service(), pods(1))) as it, sidecar(it, VOTING) as web:
        web.answers = False
        await web.read()
        await web.want(VOTING, problem="no memory\n2026-01-01 00:00:00 ERROR a line of its own")
        await it.reaches(1, "nacks_total")
    (said,) = [record.getMessage() for record in caplog.records if "refused a response" in record.getMessage()]
    assert said.isprintable()


async def test_a_refused_response_is_counted_and_only_a_newer_state_is_sent() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING) as web:
        web.answers = False
        await web.read()
        await web.want(VOTING, problem="no memory")
        await it.reaches(1, "nacks_total")
        await asyncio.sleep(0.05)
        assert it.metric("responses_total") == 1
        put(catalog, pods(2))
        await web.read()
        assert web.has == {VOTING: [row(2)]}


async def test_a_name_given_up_is_not_told_of_and_is_told_anew_when_it_is_wanted_again() -> None:
    catalog = filled(service(), pods(1), service("web", ips=["10.96.0.2"]), pods(9, name="w", of="web"))
    async with served(catalog, limits=NO_PAUSE) as it, sidecar(it, VOTING, "web:8080") as web:
        await web.read()
        assert it.metric("subscriptions") == 2
        await web.want("web:8080")
        await it.reaches(1, "subscriptions")
        put(catalog, pods(2))
        put(catalog, pods(8, name="w", of="web"))
        await web.read()
        assert web.has == {"web:8080": [row(8)]}
        await web.want(VOTING, "web:8080")
        await web.read()
        assert web.has == {VOTING: [row(2)], "web:8080": [row(8)]}
        await web.want()
        await it.reaches(0, "subscriptions")


async def test_a_stream_that_ends_leaves_nothing_behind() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog) as it:
        async with sidecar(it, VOTING, "nobody:80") as web, sidecar(it, VOTING):
            await web.read()
            await it.reaches(2, "streams")
            await it.reaches(3, "subscriptions")
        await it.reaches(0, "streams")
        assert it.metric("subscriptions") == 0
        assert not catalog._readers
        async with sidecar(it, VOTING) as web:
            await web.read()
            await web.call.done_writing()
            assert await web.end() == (grpc.StatusCode.OK, "")


async def test_a_name_that_is_said_twice_is_answered_once() -> None:
    async with served(filled(service(), pods(1))) as it, sidecar(it, VOTING, VOTING) as web:
        assert len((await web.read()).resources) == 1
        assert it.metric("subscriptions") == 1


async def test_more_names_than_allowed_end_the_stream_with_a_reason() -> None:
    names = [f"s{number}:80" for number in range(5)]
    async with served(filled(), limits=Limits(names=4)) as it:
        async with sidecar(it, *names[:4]) as web:
            await web.read()
            await web.want(*names)
            code, text = await web.end()
            assert (code, text) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "5 names, and 4 are the most that a stream may want",
            )
        assert it.metric("streams_ended_total", reason="too_many_names") == 1


async def test_more_streams_than_allowed_are_refused_and_the_others_live() -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog, limits=Limits(streams=1)) as it, sidecar(it, VOTING) as web:
        await web.read()
        async with sidecar(it, VOTING) as other:
            assert await other.end() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1 sidecars are served already")
        put(catalog, pods(2))
        await web.read()
        assert web.has == {VOTING: [row(2)]}
        assert it.metric("streams_ended_total", reason="too_many_streams") == 1


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\xff\xff\xff", "not a DiscoveryRequest"),
        (b"\x1a\x02\xff\xfe", "not a DiscoveryRequest"),  # a name that is not UTF-8
        (b"\x22\x01x", "only type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment is served here"),
    ],
)
async def test_what_is_no_request_for_endpoints_ends_that_stream_only(message: bytes, text: str) -> None:
    catalog = filled(service(), pods(1))
    async with served(catalog) as it, sidecar(it, VOTING) as web, grpc.aio.insecure_channel(it.address) as channel:
        call = channel.stream_stream(METHOD)()
        await call.write(message)
        async with asyncio.timeout(TIMEOUT_S):
            assert (await call.code(), await call.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)
        await web.read()
        assert web.has == {VOTING: [row(1)]}


async def test_a_message_too_large_ends_that_stream_only() -> None:
    async with served(filled(service(), pods(1))) as it, sidecar(it, VOTING) as web, sidecar(it) as large:
        await large.want("a" * 3_000_000)
        assert (await large.end())[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        await web.read()
        assert web.has == {VOTING: [row(1)]}


async def test_other_methods_are_not_there() -> None:
    async with served(filled()) as it, grpc.aio.insecure_channel(it.address) as channel:
        call = channel.unary_unary(METHOD.replace("Stream", "Fetch"))(b"")
        assert await call.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_large_first_answer_is_divided() -> None:
    items = [service(f"s{number}", ips=[f"10.96.1.{number}"]) for number in range(20)]
    slices = [
        endpoint_slice(f"s{number}", *(endpoint(f"10.2.{number}.{index}") for index in range(50)), service=f"s{number}")
        for number in range(20)
    ]
    names = [f"s{number}:8080" for number in range(20)]
    limits = Limits(response_bytes=10_000, pause_s=HOURS.pause_s)
    async with served(filled(*items, *slices), limits=limits) as it, sidecar(it, *names) as web:
        while len(web.has) < 20:
            await web.read()
        assert max(response.ByteSize() for response in web.responses) < 15_000
        assert all(len(web.has[name]) == 50 for name in names)
