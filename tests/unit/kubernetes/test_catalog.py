"""Subscriptions: what a reader is told, how often, and of what not."""

from proxy.discovery import Add, DoesNotExist, EndpointAddress, Remove, Reset
from proxy.discovery.kubernetes.catalog import Catalog
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.kubernetes.stage import Reader, filled, put

VOTING = "voting.emojivote:8080"


def pod(number: int) -> EndpointAddress:
    return EndpointAddress(f"10.1.0.{number}", 8080, pod=f"v-{number}", uid=f"uid-v-{number}")


def pods(name: str, *numbers: int) -> dict[str, object]:
    return endpoint_slice(name, *(endpoint(f"10.1.0.{number}", f"v-{number}") for number in numbers))


def test_nothing_is_said_before_the_first_lists_are_complete() -> None:
    catalog = Catalog()
    reader = Reader(catalog, VOTING)
    put(catalog, service())
    assert (reader.told, reader.take()) == (0, ())
    put(catalog, pods("a", 1))
    catalog.set_complete()
    assert (reader.told, reader.take()) == (1, (Reset((pod(1),)),))


def test_a_service_that_is_not_there_does_not_exist_and_an_empty_one_is_empty() -> None:
    catalog = filled()
    reader = Reader(catalog, VOTING)
    assert reader.take() == (DoesNotExist(),)
    put(catalog, pods("a", 1))
    assert reader.take() == ()
    put(catalog, service())
    assert reader.take() == (Reset((pod(1),)),)
    catalog.drop_slice(("emojivote", "a"))
    assert reader.take() == (Remove((pod(1),)),)
    catalog.drop_service(("emojivote", "voting"))
    assert reader.take() == (DoesNotExist(),)
    assert reader.take() == ()
    put(catalog, service())
    assert reader.take() == (Reset(()),)


def test_a_burst_of_events_is_told_once_and_is_one_update_with_additions_first() -> None:
    catalog = filled(service(), pods("a", 1, 2))
    reader = Reader(catalog, VOTING)
    reader.take()
    for number in range(3, 40):
        put(catalog, pods("a", 2, number))
    put(catalog, pods("b", 5))
    assert reader.told == 2, "once at the beginning, once since"
    assert reader.take() == (Add((pod(39), pod(5))), Remove((pod(1),)))


def test_what_changes_back_before_it_is_taken_is_nothing() -> None:
    catalog = filled(service(), pods("a", 1))
    reader = Reader(catalog, VOTING)
    reader.take()
    put(catalog, pods("a", 2))
    put(catalog, pods("a", 1))
    assert reader.take() == ()


def test_another_pod_with_the_same_address_is_another_endpoint() -> None:
    catalog = filled(service(), endpoint_slice("a", endpoint("10.1.0.1", "v-1", uid="old")))
    reader = Reader(catalog, VOTING)
    reader.take()
    put(catalog, endpoint_slice("a", endpoint("10.1.0.1", "v-1", uid="new")))
    old, new = (EndpointAddress("10.1.0.1", 8080, pod="v-1", uid=uid) for uid in ("old", "new"))
    assert reader.take() == (Add((new,)), Remove((old,)))


def test_an_endpoint_that_only_gets_another_name_is_not_removed() -> None:
    """A cluster knows endpoints by address, port and uid: to remove one by them would remove the one added before."""
    catalog = filled(service(), endpoint_slice("a", endpoint("10.1.0.1", "v-1", uid="")))
    reader = Reader(catalog, VOTING)
    reader.take()
    put(catalog, endpoint_slice("a", endpoint("10.1.0.1", "v-2", uid="")))
    assert reader.take() == ()


def test_a_reader_is_not_told_of_what_it_did_not_ask_for() -> None:
    catalog = filled(service(), pods("a", 1))
    reader = Reader(catalog, VOTING)
    reader.take()
    put(catalog, service("other", ips=["10.96.0.2"]), endpoint_slice("o", endpoint("10.1.0.9"), service="other"))
    put(catalog, service(), pods("a", 1))
    assert reader.told == 1
    reader.subscription.close()
    put(catalog, pods("a", 2))
    assert reader.told == 1


def test_a_subscription_to_an_address_follows_whose_address_it_is() -> None:
    catalog = filled()
    reader = Reader(catalog, "10.96.0.1:8080")
    assert reader.take() == (DoesNotExist(),)
    put(catalog, service(), pods("a", 1))
    assert reader.take() == (Reset((pod(1),)),)
    put(catalog, pods("a", 2))
    assert reader.take() == (Add((pod(2),)), Remove((pod(1),)))
    put(catalog, service(ips=["10.96.0.7"]))
    assert reader.take() == (DoesNotExist(),)
    single = Reader(catalog, "10.1.0.2:8080")
    assert single.take() == (Reset((pod(2),)),)
    put(catalog, pods("a", 1))
    assert single.take() == (DoesNotExist(),)


def test_a_list_deletes_what_it_does_not_name_within_its_namespace_only() -> None:
    elsewhere = [service(namespace="b"), endpoint_slice("x", endpoint("10.2.0.1"), namespace="b")]
    catalog = filled(service(), pods("a", 1), pods("b", 2), *elsewhere)
    here, there = Reader(catalog, VOTING), Reader(catalog, "voting.b:8080")
    here.take(), there.take()
    catalog.replace_slices([], "emojivote")
    assert here.take() == (Remove((pod(1), pod(2))),)
    catalog.replace_services([], "emojivote")
    assert here.take() == (DoesNotExist(),)
    assert there.take() == ()
    catalog.replace_services([])
    assert there.take() == (DoesNotExist(),)
