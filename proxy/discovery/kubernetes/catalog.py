"""All Services and EndpointSlices that are known, and who asked for which.

Whoever follows the API server puts objects in; whoever needs endpoints subscribes to a name. A subscription is told
once that something changed (`on_change`) and says what when it is asked: as the difference to what it said last
(`take`), or the whole of it (`look`). So a burst of events is one update, and a reader that is slow holds no queue, and
holds up nobody.

Pure: no I/O, no event loop, no clock. All is called from one thread, and `on_change` must not call back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from proxy.address import SocketAddress
from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset
from proxy.discovery.kubernetes.merge import Member, app_protocol, merged, service_port
from proxy.discovery.kubernetes.names import Name, ServiceName
from proxy.discovery.kubernetes.records import Key, Service, Slice, SlicePort

T = TypeVar("T")

Topic = Key | str
"""What a change is about: a Service's key, or an IP address."""


Known = dict[tuple[str, int, str], EndpointAddress]
"""Endpoints by what makes them the same in two updates, in that order."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a name leads to. `service` is empty for a single pod; `protocol` is http2, http1, tcp or detect."""

    service: Key | None
    members: tuple[Member, ...]
    protocol: str = "detect"


class Subscription:
    """One reader's view of one name."""

    def __init__(self, catalog: Catalog, name: Name | None, zone: str, on_change: Callable[[], None]) -> None:
        self._catalog = catalog
        self._zone = zone
        self._said: Known | None = None  # None: that there is nothing, or nothing yet
        self._spoke = False
        self.name = name
        self.on_change = on_change
        self.changed = False

    def take(self) -> tuple[EndpointUpdate, ...]:
        """What changed since the last time; nothing before the first lists are complete."""
        self.changed = False
        if not self._catalog.complete:
            return ()
        before, spoke, self._spoke = self._said, self._spoke, True
        target = self._catalog.find(self.name, self._zone)
        now = self._said = None if target is None else _known(target.members)
        if now is None:
            return () if spoke and before is None else (DoesNotExist(),)
        if before is None:
            return (Reset(tuple(now.values())),)
        # What is new comes first: a Service whose pods are all replaced is never without endpoints.
        added = tuple(each for identity, each in now.items() if identity not in before)
        removed = tuple(each for identity, each in before.items() if identity not in now)
        return (*((Add(added),) if added else ()), *((Remove(removed),) if removed else ()))

    def look(self) -> Target | None:
        """All of what the name leads to now, for a reader that wants no differences and so never calls `take`."""
        self.changed = False
        return self._catalog.find(self.name, self._zone)

    def close(self) -> None:
        """The end: it is told of nothing any more."""
        self._catalog.forget(self)


class Catalog:
    """Services and slices by key, with what is needed to find them by Service and by address."""

    def __init__(self) -> None:
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, Slice] = {}
        self._of_service: dict[Key, dict[Key, Slice]] = {}
        self._by_service_ip: dict[str, set[Key]] = {}
        self._by_pod_ip: dict[str, set[Key]] = {}
        self._readers: dict[Topic, dict[Subscription, None]] = {}
        self.complete = False

    # ---- what the API server says ----

    def set_complete(self) -> None:
        """The first lists are all there: from now on, what is not known does not exist."""
        if not self.complete:
            self.complete = True
            self._tell(list(self._readers))

    def put_service(self, service: Service) -> None:
        """It is new or has changed."""
        self._exchange_service(service.key, service)

    def drop_service(self, key: Key) -> None:
        """It was deleted."""
        self._exchange_service(key, None)

    def put_slice(self, item: Slice) -> None:
        """It is new or has changed."""
        self._exchange_slice(item.key, item)

    def drop_slice(self, key: Key) -> None:
        """It was deleted."""
        self._exchange_slice(key, None)

    def replace_services(self, services: Iterable[Service], namespace: str = "") -> None:
        """These are all there are in `namespace`, or at all: others that were known were deleted meanwhile."""
        listed = {service.key: service for service in services}
        for key in [key for key in self._services if key not in listed and namespace in ("", key[0])]:
            self._exchange_service(key, None)
        for key, service in listed.items():
            self._exchange_service(key, service)

    def replace_slices(self, slices: Iterable[Slice], namespace: str = "") -> None:
        """The same for slices. What is new comes first, as a pod may just have moved from one slice to another."""
        listed = {item.key: item for item in slices}
        for key, item in listed.items():
            self._exchange_slice(key, item)
        for key in [key for key in self._slices if key not in listed and namespace in ("", key[0])]:
            self._exchange_slice(key, None)

    # ---- what others ask ----

    def find(self, name: Name | None, zone: str = "") -> Target | None:
        """What `name` leads to for someone in `zone`; None if it is not ours to say."""
        if name is None:
            return None
        if isinstance(name, ServiceName):
            return self._find_service(name, zone)
        for key in sorted(self._by_service_ip.get(name.host, ())):
            if (found := self._find_service(ServiceName(key, name.port), zone)) is not None:
                return found
        return self._find_pod(name)

    def subscribe(self, name: Name | None, on_change: Callable[[], None], zone: str = "") -> Subscription:
        """`on_change` is called at most once before each `take`, and at once if there is something to take.

        None is a name that nothing here can have: that is told when the first lists are complete, as for all others.
        """
        subscription = Subscription(self, name, zone, on_change)
        self._readers.setdefault(_topic(name), {})[subscription] = None
        if self.complete:
            subscription.changed = True
            on_change()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        topic = _topic(subscription.name)
        readers = self._readers.get(topic, {})
        readers.pop(subscription, None)
        if not readers:
            self._readers.pop(topic, None)

    # ---- within ----

    def _find_service(self, name: ServiceName, zone: str) -> Target | None:
        service = self._services.get(name.key)
        if service is None:
            return None
        slices = self._of_service.get(name.key, {}).values()
        members, wanted = merged(service, name.port, slices, zone), service_port(service, name.port)
        if members is None or wanted is None:
            return None
        return Target(
            name.key, members, app_protocol(service, wanted, (port for each in slices for port in each.ports))
        )

    def _find_pod(self, place: SocketAddress) -> Target | None:
        """A pod that was called by its own address: known if a slice has it with that port."""
        found: tuple[Member, Slice, SlicePort] | None = None
        for key in sorted(self._by_pod_ip.get(place.host, ())):
            each = self._slices[key]
            for port in each.ports:
                for endpoint in each.endpoints if port.port in (None, place.port) else ():
                    member = Member(endpoint, place.port, each.family)
                    if endpoint.address == place.host and (found is None or member.rank > found[0].rank):
                        found = member, each, port
        if found is None:
            return None
        member, each, slice_port = found
        service = self._services.get(each.service)
        if service is None:
            return Target(None, (member,))
        # The Service's port of that name may say what it speaks, or be opaque.
        named = next((port for port in service.ports if port.name == slice_port.name), None)
        wanted = named or service_port(service, place.port)
        return Target(None, (member,), app_protocol(service, wanted, each.ports) if wanted else "detect")

    def _exchange_service(self, key: Key, new: Service | None) -> None:
        old = self._services.get(key)
        if old == new:
            return
        _exchange(self._services, key, new)
        ips = _reindex(self._by_service_ip, key, old.ips if old else (), new.ips if new else ())
        # A pod called by its own address may speak something else now.
        pods = [each.address for item in self._of_service.get(key, {}).values() for each in item.endpoints]
        self._tell((key, *ips, *pods))

    def _exchange_slice(self, key: Key, new: Slice | None) -> None:
        old = self._slices.get(key)
        if old == new:
            return
        _exchange(self._slices, key, new)
        changed: set[Topic] = set()
        for item in (old, new):
            if item is not None:
                service = self._services.get(item.service)
                changed |= {item.service, *(service.ips if service else ())}
        if old is not None:
            del self._of_service[old.service][key]
            if not self._of_service[old.service]:
                del self._of_service[old.service]
        if new is not None:
            self._of_service.setdefault(new.service, {})[key] = new
        changed |= _reindex(self._by_pod_ip, key, _addresses(old), _addresses(new))
        self._tell(changed)

    def _tell(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            for subscription in list(self._readers.get(topic, ())) if self.complete else ():
                if not subscription.changed:
                    subscription.changed = True
                    subscription.on_change()


def _topic(name: Name | None) -> Topic:
    if name is None:
        return ""
    return name.key if isinstance(name, ServiceName) else name.host


def _addresses(item: Slice | None) -> tuple[str, ...]:
    return tuple(each.address for each in item.endpoints) if item is not None else ()


def _exchange(known: dict[Key, T], key: Key, new: T | None) -> None:
    if new is None:
        known.pop(key, None)
    else:
        known[key] = new


def _reindex(index: dict[str, set[Key]], key: Key, old: Iterable[str], new: Iterable[str]) -> set[str]:
    """Make `key` found by its new addresses and no longer by its old ones; returns both."""
    before, now = set(old), set(new)
    for address in before - now:
        index[address].discard(key)
        if not index[address]:
            del index[address]
    for address in now - before:
        index.setdefault(address, set()).add(key)
    return before | now


def _known(members: Iterable[Member]) -> Known:
    ordered = sorted((member.address for member in members), key=lambda each: each.identity)
    return {each.identity: each for each in ordered}
