"""Endpoints found by DNS: each A and AAAA record of a name is one.

Both types are asked for together and again when the smallest TTL has run out, within the configured bounds.
What an answer means: addresses, or none of that type (RFC 2308, NODATA), is believed; NXDOMAIN for one type
counts as none if the other type answers, for there are servers that know no AAAA (RFC 4074, section 4.2); a
failure or a timeout says nothing, so that type's last addresses stay and it is asked again with backoff.

The only module that imports dnspython. Knows nothing of clusters.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from proxy.config import DnsConfig
from proxy.discovery import Add, DoesNotExist, EndpointAddress, EndpointUpdate, Remove, Reset

log = logging.getLogger(__name__)

_TYPES: Final = (dns.rdatatype.A, dns.rdatatype.AAAA)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is known of one record type, and for how long; `exists` is false after NXDOMAIN."""

    hosts: frozenset[str]
    exists: bool
    ttl_s: float


class DnsResolver:
    """Asks for one name's addresses for as long as someone iterates its updates."""

    def __init__(
        self,
        config: DnsConfig,
        *,
        query_timeout_s: float = 5.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`query_timeout_s` bounds one question with all its tries; `uniform(low, high)` draws the jitter."""
        self._config = config
        # Never tried with the search list of resolv.conf: with the five dots Kubernetes asks for there, every
        # full name would first be tried with each suffix.
        self._name = dns.name.from_text(config.name, dns.name.root)
        self._query_timeout_s = query_timeout_s
        self._sleep = sleep
        self._uniform = uniform
        self._known: dict[dns.rdatatype.RdataType, _Answer] = {}
        self._failed_rounds = 0

    async def updates(self) -> AsyncGenerator[EndpointUpdate, None]:
        """Yields what changed after each round of questions; see `proxy.discovery.Resolver`."""
        published: frozenset[str] | None = None  # None: nothing so far, or there was no such name
        absent = False
        while True:
            wait_s = await self._ask()
            answers = self._known.values()
            hosts = frozenset(host for answer in answers for host in answer.hosts)
            complete = len(answers) == len(_TYPES)
            if complete and not any(answer.exists for answer in answers):
                if not absent:
                    yield DoesNotExist()
                published, absent = None, True
            elif hosts or complete:
                for update in self._changes(published, hosts):
                    yield update
                published, absent = hosts, False
            await self._sleep(wait_s)

    async def _ask(self) -> float:
        """Asks for every type once, keeps what was answered, and returns the seconds until the next time."""
        low_s, high_s = self._config.min_refresh_s, self._config.max_refresh_s
        results = await self._query_all()
        answered = [result for result in results if isinstance(result, _Answer)]
        failures = [result for result in results if isinstance(result, Exception)]
        # An answer without addresses is often cached for a shorter time than one with; it must not set the
        # pace for a name that simply has no AAAA records.
        lasting = [answer for answer in answered if answer.hosts] or answered
        refresh_s = min([high_s, *(max(low_s, answer.ttl_s) for answer in lasting)])
        if not failures:
            if self._failed_rounds:
                log.info("DNS answers for %s again", self._config.name)
            self._failed_rounds = 0
            return refresh_s
        if not self._failed_rounds:
            log.warning("DNS failed for %s, its last endpoints stay: %s", self._config.name, failures[0])
        self._failed_rounds += 1
        backoff_s = min(high_s, low_s * 2.0 ** min(self._failed_rounds, 30))
        return min(refresh_s, self._uniform(max(low_s, backoff_s / 2), backoff_s))

    async def _query_all(self) -> list[_Answer | Exception]:
        try:
            # Made anew for each round, so that a changed resolv.conf is noticed.
            resolver = dns.asyncresolver.Resolver(configure=not self._config.nameservers)
        except (dns.exception.DNSException, OSError) as error:
            return [error]
        if self._config.nameservers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(server.host, server.port) for server in self._config.nameservers
            ]
        results = await asyncio.gather(*(self._query(resolver, rdtype) for rdtype in _TYPES))
        for rdtype, result in zip(_TYPES, results, strict=True):
            if isinstance(result, _Answer):
                self._known[rdtype] = result
        return results

    async def _query(
        self, resolver: dns.asyncresolver.Resolver, rdtype: dns.rdatatype.RdataType
    ) -> _Answer | Exception:
        try:
            answer = await resolver.resolve(
                self._name, rdtype, raise_on_no_answer=False, lifetime=self._query_timeout_s
            )
        except dns.resolver.NXDOMAIN as error:
            response: dns.message.QueryMessage = error.response(self._name)  # type: ignore[no-untyped-call]
            return _Answer(frozenset(), False, response.resolve_chaining().minimum_ttl)
        except (dns.exception.DNSException, OSError) as error:
            return error
        hosts = frozenset(record.address for record in answer.rrset or ())
        return _Answer(hosts, True, answer.chaining_result.minimum_ttl)

    def _changes(self, before: frozenset[str] | None, now: frozenset[str]) -> Iterator[EndpointUpdate]:
        if before is None:
            yield Reset(self._endpoints(now))
            return
        # What is new comes first: a cluster that moves altogether is never without endpoints.
        if added := now - before:
            yield Add(self._endpoints(added))
        if removed := before - now:
            yield Remove(self._endpoints(removed))

    def _endpoints(self, hosts: frozenset[str]) -> tuple[EndpointAddress, ...]:
        ordered = sorted(hosts, key=lambda host: (":" in host, host))
        return tuple(EndpointAddress(host, self._config.port) for host in ordered)
