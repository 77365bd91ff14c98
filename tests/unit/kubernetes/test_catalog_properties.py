"""Any order of events, lists and readings: what readers have is what the objects say, by a simple rule.

The oracle keeps the API's JSON and works each answer out of all of it, without indexes, differences or records.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.records import Service, Slice, read_service, read_slice
from tests.support.kubernetes_objects import endpoint, endpoint_slice, service
from tests.unit.kubernetes.stage import Reader

Object = dict[str, Any]
Key = tuple[str, str]

NAMESPACES = ("n", "m")
SERVICES = ("a", "b")
SLICES = ("s1", "s2", "s3")
SERVICE_IPS = ("10.96.0.1", "10.96.0.2")
NAMES = [f"{name}.{namespace}" for name in SERVICES for namespace in NAMESPACES]
ZONES = ("", "z1", "z2")
STATES = (
    {},
    {"ready": True},
    {"ready": False, "serving": True, "terminating": True},
    {"ready": False, "serving": False, "terminating": False},
    {"ready": False, "serving": False, "terminating": True},
)


@st.composite
def endpoints(draw: st.DrawFn, family: str) -> Object:
    number = draw(st.integers(1, 4))
    address = f"10.1.0.{number}" if family == "IPv4" else f"fd00::{number}"
    return endpoint(
        address,
        draw(st.sampled_from(("", f"p{number}", f"p{number}-again"))),
        zones=draw(st.lists(st.sampled_from(ZONES[1:]), max_size=2)),
        **draw(st.sampled_from(STATES)),
    )


@st.composite
def slices(draw: st.DrawFn) -> Object:
    family = draw(st.sampled_from(("IPv4", "IPv4", "IPv6")))
    ports = [{"name": "grpc", "port": draw(st.sampled_from((8080, 9090)))}]
    if draw(st.booleans()):
        ports.append({"name": "prom", "port": 9090})
    return endpoint_slice(
        draw(st.sampled_from(SLICES)),
        *draw(st.lists(endpoints(family), max_size=4)),
        service=draw(st.sampled_from(SERVICES)),
        namespace=draw(st.sampled_from(NAMESPACES)),
        ports=ports,
        family=family,
    )


@st.composite
def services(draw: st.DrawFn) -> Object:
    ports = [{"name": "grpc", "port": 80}, *([{"name": "prom", "port": 81}] if draw(st.booleans()) else [])]
    return service(
        draw(st.sampled_from(SERVICES)),
        draw(st.sampled_from(NAMESPACES)),
        ports,
        draw(st.lists(st.sampled_from(SERVICE_IPS), max_size=1)),
        ipFamilies=draw(st.sampled_from((["IPv4"], ["IPv6", "IPv4"]))),
    )


def key_of(item: Object) -> Key:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def read_services(items: list[Object]) -> list[Service]:
    return [read for item in items if (read := read_service(item)) is not None]


def read_slices(items: list[Object]) -> list[Slice]:
    return [read for item in items if (read := read_slice(item)) is not None]


class Oracle:
    """What a name leads to, of the JSON alone."""

    def __init__(self) -> None:
        self.services: dict[Key, Object] = {}
        self.slices: dict[Key, Object] = {}

    def endpoints(self, authority: str, zone: str) -> set[tuple[str, int, str]] | None:
        """(address, port, uid) of each; None if there is no such thing."""
        host, _, digits = authority.rpartition(":")
        keys = [(host.split(".")[1], host.split(".")[0])] if not host[0].isdigit() else sorted(self.services)
        for key in keys:
            found = self.services.get(key)
            if found is None or (host[0].isdigit() and host not in found["spec"]["clusterIPs"]):
                continue
            for port in found["spec"]["ports"]:
                if port["port"] == int(digits):
                    return self._of(key, found, port["name"], zone)
            if found["spec"]["clusterIP"] == "None":
                return set()  # a port of the pods themselves, and none of them has 80 or 81
        return None

    def _of(self, key: Key, found: Object, port: str, zone: str) -> set[tuple[str, int, str]]:
        rows = self._rows(key, port)
        for wanted in ("ready", "leaving"):
            if usable := [row for row in rows if row[wanted]]:
                break
        # An address is one pod's: of several the one with the greatest uid.
        places = {(row["address"], row["port"]) for row in usable}
        usable = [
            max(
                (row for row in usable if (row["address"], row["port"]) == place),
                key=lambda row: (row["uid"], sorted(row["zones"])),
            )
            for place in places
        ]
        primary = found["spec"]["ipFamilies"][0]
        twice = {(row["uid"], row["port"]) for row in usable if row["family"] == primary and row["uid"]}
        usable = [row for row in usable if row["family"] == primary or (row["uid"], row["port"]) not in twice]
        if zone and all(row["ready"] and row["zones"] for row in usable):
            usable = [row for row in usable if zone in row["zones"]] or usable
        return {(row["address"], row["port"], row["uid"]) for row in usable}

    def _rows(self, key: Key, port: str) -> list[Object]:
        rows = []
        for name, item in sorted(self.slices.items()):
            if (name[0], item["metadata"]["labels"]["kubernetes.io/service-name"]) != key:
                continue
            for slice_port in item["ports"]:
                for each in item["endpoints"] if slice_port["name"] == port else ():
                    conditions = each["conditions"]
                    rows.append(
                        {
                            "address": each["addresses"][0],
                            "port": slice_port["port"],
                            "family": item["addressType"],
                            "uid": each.get("targetRef", {}).get("uid", ""),
                            "ready": conditions.get("ready", True),
                            "leaving": conditions.get("serving") and conditions.get("terminating"),
                            "zones": {hint["name"] for hint in each.get("hints", {}).get("forZones", [])},
                        }
                    )
        return rows


class Watching(RuleBasedStateMachine):
    """Objects come, change and go; readers read now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog = Catalog()
        self.oracle = Oracle()
        self.readers: list[tuple[str, str, Reader]] = []

    @initialize()
    def readers_of_everything(self) -> None:
        for name in (*NAMES, *SERVICE_IPS):
            for port in (80, 81):
                for zone in ZONES[:2]:
                    authority = f"{name}:{port}"
                    self.readers.append((authority, zone, Reader(self.catalog, authority, zone=zone)))

    @rule(item=services())
    def put_service(self, item: Object) -> None:
        self.oracle.services[key_of(item)] = item
        for read in read_services([item]):
            self.catalog.put_service(read)

    @rule(item=slices())
    def put_slice(self, item: Object) -> None:
        self.oracle.slices[key_of(item)] = item
        for read in read_slices([item]):
            self.catalog.put_slice(read)

    @rule(key=st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(SERVICES)))
    def drop_service(self, key: Key) -> None:
        self.oracle.services.pop(key, None)
        self.catalog.drop_service(key)

    @rule(key=st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(SLICES)))
    def drop_slice(self, key: Key) -> None:
        self.oracle.slices.pop(key, None)
        self.catalog.drop_slice(key)

    @rule(items=st.lists(services(), max_size=3), namespace=st.sampled_from(("", *NAMESPACES)))
    def list_services(self, items: list[Object], namespace: str) -> None:
        listed = {key_of(item): item for item in items if namespace in ("", key_of(item)[0])}
        kept = {key: item for key, item in self.oracle.services.items() if namespace not in ("", key[0])}
        self.oracle.services = kept | listed
        self.catalog.replace_services(read_services(list(listed.values())), namespace)

    @rule(items=st.lists(slices(), max_size=3), namespace=st.sampled_from(("", *NAMESPACES)))
    def list_slices(self, items: list[Object], namespace: str) -> None:
        listed = {key_of(item): item for item in items if namespace in ("", key_of(item)[0])}
        kept = {key: item for key, item in self.oracle.slices.items() if namespace not in ("", key[0])}
        self.oracle.slices = kept | listed
        self.catalog.replace_slices(read_slices(list(listed.values())), namespace)

    @rule()
    def all_is_listed(self) -> None:
        self.catalog.set_complete()

    @rule(which=st.sets(st.integers(0, 23), min_size=1, max_size=12))
    def some_read(self, which: set[int]) -> None:
        for index in which:
            self.readers[index][2].take()

    @rule()
    def all_read_and_have_what_the_objects_say(self) -> None:
        for authority, zone, reader in self.readers:
            reader.take()
            self._agrees(authority, zone, reader)

    @invariant()
    def readers_that_were_told_nothing_are_up_to_date(self) -> None:
        for authority, zone, reader in self.readers:
            if not reader.subscription.changed:
                self._agrees(authority, zone, reader)

    def _agrees(self, authority: str, zone: str, reader: Reader) -> None:
        expected = self.oracle.endpoints(authority, zone) if self.catalog.complete else None
        got = reader.endpoints
        assert (None if got is None else {(each.host, each.port, each.uid) for each in got}) == expected, authority


TestWatching = Watching.TestCase
TestWatching.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
