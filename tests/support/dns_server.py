"""A DNS server on loopback that answers, refuses, lies or keeps silent as a test tells it to.

It speaks the real protocol on UDP and TCP, on the same port of 127.0.0.1; dnspython reads and writes the
messages. What it answers is its `zone`, which a test changes as it goes.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.ports import free_port

A, AAAA = dns.rdatatype.A, dns.rdatatype.AAAA


@dataclass
class Records:
    """What there is of one type: addresses and their TTL. `rcode` other than NOERROR answers with that."""

    addresses: list[str] = field(default_factory=list)
    ttl_s: int = 30
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    silent: bool = False
    alias: str = ""  # a CNAME to this name comes first, with `alias_ttl_s`
    alias_ttl_s: int = 30


@dataclass
class DnsServer:
    """`zone` maps a type to its records, for whatever name; `questions` counts questions by transport."""

    port: int
    zone: dict[dns.rdatatype.RdataType, Records] = field(default_factory=dict)
    negative_ttl_s: int | None = None  # the SOA of an answer without records; None: no SOA
    truncate: bool = False
    questions: dict[str, int] = field(default_factory=lambda: {"udp": 0, "tcp": 0})
    names: list[str] = field(default_factory=list)

    def sets(self, **records: Records) -> Callable[[], None]:
        """Something to call when the zone is to have these records from then on: `a`, `aaaa`."""
        return lambda: self.zone.update({{"a": A, "aaaa": AAAA}[name]: held for name, held in records.items()})

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        self.questions[transport] += 1
        self.names.append(question.name.to_text())
        records = self.zone.get(question.rdtype, Records())
        if records.silent:
            return None
        response = dns.message.make_response(query)
        response.set_rcode(records.rcode)
        if self.truncate and transport == "udp":
            response.flags |= dns.flags.TC
            return response.to_wire()
        name = question.name
        if records.alias:
            cname = dns.rrset.from_text(name, records.alias_ttl_s, "IN", "CNAME", records.alias)
            response.answer.append(cname)
            name = cname[0].target
        if records.addresses:
            response.answer.append(
                dns.rrset.from_text_list(name, records.ttl_s, "IN", question.rdtype, records.addresses)
            )
        elif self.negative_ttl_s is not None:
            soa = f"ns.test. admin.test. 1 2 3 4 {self.negative_ttl_s}"
            response.authority.append(dns.rrset.from_text("test.", 3600, "IN", "SOA", soa))
        return response.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Neither asyncio's transport (before 3.12) nor uvloop's is a subclass of DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if answer := self._server.answer(data, "udp"):
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def dns_server() -> AsyncIterator[DnsServer]:
    """A running server; stopped when the block is left."""
    server = DnsServer(free_port())

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            if answer := server.answer(await reader.readexactly(length), "tcp"):
                writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(server), local_addr=("127.0.0.1", server.port)
    )
    async with await asyncio.start_server(stream, "127.0.0.1", server.port):
        try:
            yield server
        finally:
            transport.close()
