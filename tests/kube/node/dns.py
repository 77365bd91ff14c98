"""The cluster's DNS: names of Services, from the API's own objects.

    SERVICE.NAMESPACE.svc.cluster.local        its address; of a headless one, those of its ready pods
    POD.SERVICE.NAMESPACE.svc.cluster.local    a pod with a hostname, of a headless Service
    ADDRESS.NAMESPACE.pod.cluster.local        10-1-0-1 is 10.1.0.1

Everything else within the domain does not exist; names outside of it are not this server's to answer (REFUSED).
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.kube.node.client import Json, Mirror
from tests.kube.node.sandbox import DOMAIN
from tests.kube.node.services import SERVICE_NAME, ready_addresses

PORT = 53
TTL_S = 5  # as CoreDNS has it for Kubernetes
LARGEST_BYTES = 1232


class ClusterDns:
    """A server on `address`, UDP and TCP."""

    def __init__(self, services: Mirror, slices: Mirror, address: str) -> None:
        self._services = services
        self._slices = slices
        self._address = address

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(self._address, PORT))
        try:
            server = await asyncio.start_server(self._serve, self._address, PORT)
            async with server:
                await server.serve_forever()
        finally:
            transport.close()

    def answer(self, wire: bytes, largest_bytes: int) -> bytes | None:
        """The response to a query; None if it is none."""
        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        name = question.name.to_text(omit_final_dot=True).lower()
        found = None if not name.endswith(f".{DOMAIN}") else self._find(name.removesuffix(f".{DOMAIN}"))
        if not name.endswith(f".{DOMAIN}"):
            response.set_rcode(dns.rcode.REFUSED)
        elif found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif found and question.rdtype == dns.rdatatype.A:
            response.answer.append(dns.rrset.from_text_list(question.name, TTL_S, "IN", "A", found))
        try:
            return response.to_wire(max_size=largest_bytes)
        except dns.exception.TooBig:
            cut = dns.message.make_response(query)
            cut.flags |= dns.flags.TC
            return cut.to_wire()

    def _find(self, name: str) -> list[str] | None:
        """Addresses; none if the name exists without any; None if it does not exist."""
        match name.split("."):
            case [service, namespace, "svc"]:
                return self._service(namespace, service)
            case [host, service, namespace, "svc"]:
                slices = list(self._slices_of(namespace, service))
                named = [each for one in slices for each in one.get("endpoints") or [] if each.get("hostname") == host]
                return [each["addresses"][0] for each in named] or None
            case [address, _, "pod"]:
                return [address.replace("-", ".")]
            case _:
                return None

    def _service(self, namespace: str, name: str) -> list[str] | None:
        service = self._services.objects.get((namespace, name))
        if service is None:
            return None
        address = service["spec"].get("clusterIP")
        if address and address != "None":
            return [address]
        return sorted(set(ready_addresses(self._slices_of(namespace, name))))

    def _slices_of(self, namespace: str, service: str) -> Iterator[Json]:
        for (where, _), item in self._slices.objects.items():
            if where == namespace and (item["metadata"].get("labels") or {}).get(SERVICE_NAME) == service:
                yield item

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                response = self.answer(await reader.readexactly(length), 65_535)
                if response is None:
                    break
                writer.write(len(response).to_bytes(2, "big") + response)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: ClusterDns) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if (response := self._server.answer(data, LARGEST_BYTES)) is not None:
            self._transport.sendto(response, addr)
