"""Any order of changes in the cluster and in what sidecars want: at rest each has what the catalog says, exactly.

The catalog's own answers are held against the API's JSON in tests/unit/kubernetes. Here they are the oracle.
"""

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from injector.endpoints.stream import Limits
from proxy.discovery.kubernetes.catalog import Catalog
from proxy.discovery.kubernetes.names import parse_authority
from tests.unit.endpoints.stage import INVALID_ARGUMENT, NOT_FOUND, Row, Served, Sidecar
from tests.unit.kubernetes.stage import Object, put
from tests.unit.kubernetes.test_catalog_properties import NAMESPACES, SERVICES, Key, services, slices

WANTED = ("a", "a.n:80", "a.n.svc.cluster.local:81", "a.m", "b:81", "b.m:80", "10.96.0.1", "10.96.0.2:81",
          "[fd00::1]:8080", "10.1.0.2:9090", "10.1.0.1:8080", "www.example.com:443", "no authority")  # fmt: skip
ASKERS = (("n", ""), ("n", "z1"), ("m", "z2"))
REST_S = 0.05


def oracle(catalog: Catalog, text: str, namespace: str, zone: str) -> list[Row] | int:
    if " " in text:
        return INVALID_ARGUMENT
    target = catalog.find(parse_authority(text, namespace), zone)
    if target is None:
        return NOT_FOUND
    each = [(member.endpoint.zone, member.address, target.protocol) for member in target.members]
    return sorted((zone, a.host, a.port, a.pod, a.uid, protocol) for zone, a, protocol in each)


class Serving(RuleBasedStateMachine):
    """Real streams; what is in flight when something changes is whatever it happens to be."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.catalog = Catalog()
        self.sidecars: list[Sidecar] = []

    @initialize(listed=st.booleans())
    def begin(self, listed: bool) -> None:
        if listed:
            self.catalog.set_complete()
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        self.served = Served(self.catalog, "127.0.0.1", Limits(pause_s=0.01, response_bytes=300))
        await self.served.server.start()
        for namespace, zone in ASKERS:
            self.sidecars.append(Sidecar(self.served, namespace=namespace, zone=zone))
            await self.sidecars[-1].want()
            self.sidecars[-1].keep_reading()

    @rule(item=st.one_of(services(), slices()))
    def something_changes(self, item: Object) -> None:
        put(self.catalog, item)

    @rule(key=st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(SERVICES)))
    def a_service_is_deleted(self, key: Key) -> None:
        self.catalog.drop_service(key)

    @rule(key=st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(("s1", "s2", "s3"))))
    def a_slice_is_deleted(self, key: Key) -> None:
        self.catalog.drop_slice(key)

    @rule(which=st.integers(0, len(ASKERS) - 1), names=st.sets(st.sampled_from(WANTED)))
    def a_sidecar_wants_something_else(self, which: int, names: set[str]) -> None:
        self.runner.run(self.sidecars[which].want(*sorted(names)))

    @rule(which=st.integers(0, len(ASKERS) - 1), name=st.sampled_from(WANTED), patient=st.booleans())
    def a_sidecar_gives_up_a_name_and_wants_it_again(self, which: int, name: str, patient: bool) -> None:
        self.runner.run(self._again(self.sidecars[which], name, patient))

    async def _again(self, sidecar: Sidecar, name: str, patient: bool) -> None:
        others = set(sidecar.names) - {name}
        await sidecar.want(*sorted(others))
        if patient:
            await asyncio.sleep(0.002)
        await sidecar.want(*sorted({*others, name}))

    @rule()
    def all_is_listed(self) -> None:
        self.catalog.set_complete()

    @rule()
    def some_time_passes(self) -> None:
        self.runner.run(asyncio.sleep(0.002))

    @rule()
    def at_rest_each_has_what_the_catalog_says(self) -> None:
        self.runner.run(self._rest())

    async def _rest(self) -> None:
        for sidecar in self.sidecars:
            await sidecar.reaches(lambda it=sidecar: self._agrees(it))  # type: ignore[misc]
        await asyncio.sleep(REST_S)
        assert all(map(self._agrees, self.sidecars)), "what is right was replaced by something older"

    def _agrees(self, sidecar: Sidecar) -> bool:
        if not self.catalog.complete:
            return sidecar.has == {}
        namespace, zone = ASKERS[self.sidecars.index(sidecar)]
        has = {name: found if isinstance(found, int) else sorted(found) for name, found in sidecar.has.items()}
        return has == {name: oracle(self.catalog, name, namespace, zone) for name in sidecar.names}

    def teardown(self) -> None:
        async def end() -> None:
            await self._rest()
            for sidecar in self.sidecars:
                await sidecar.close()
            await self.served.server.stop(0)

        if self.sidecars:
            self.runner.run(end())
        self.runner.close()


TestServing = Serving.TestCase
TestServing.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
