"""The rules that lead a pod's TCP through its sidecar: what they are, and the text that sets or undoes them.

Pure: rules are data, rendered for `iptables-restore --noflush` (and `ip6tables-restore`) as one transaction per
family. Nothing is run here. The text depends on what the nat table holds already (as `iptables-save` prints it),
so that it leads to the same rules from any state: own chains are emptied and filled again, and jumps to them are
taken out wherever they are before one is put in. What belongs to others is never named.

The proxy's own traffic is left out altogether, also what it sends to an address of its own pod. There its outbound
side (a call that was balanced to the pod it came from) and its inbound side (a call on its way to the application)
look the same, so leading the one to the inbound port would lead the other there too, in a circle.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

INBOUND: Final = "MESHCTL_INBOUND"
OUTBOUND: Final = "MESHCTL_OUTBOUND"
HOOKS: Final = ((INBOUND, "PREROUTING"), (OUTBOUND, "OUTPUT"))

BACKENDS: Final = ("nft", "legacy")  # iptables' two ways into the kernel

HIGHEST_PORT: Final = 65535
HIGHEST_UID: Final = 2**32 - 2  # the one above means "no user"

Family: TypeAlias = Literal[4, 6]
Subnet: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?").fullmatch


class PortsError(ValueError):
    """A list of ports that cannot be read; the message names every wrong item."""


class SubnetsError(ValueError):
    """A list of subnets that cannot be read; the message names every wrong item."""


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports from `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"


@dataclass(frozen=True, slots=True)
class Skips:
    """What one direction leaves out: destination ports, and subnets of the other side, of both families."""

    ports: tuple[PortRange, ...] = ()
    subnets: tuple[Subnet, ...] = ()


@dataclass(frozen=True, slots=True)
class Interception:
    """What goes where: the proxy's two ports, and what goes past it."""

    inbound_port: int = 4143
    outbound_port: int = 4140
    admin_port: int = 4191
    proxy_uid: int = 2102
    inbound_skips: Skips = Skips()
    outbound_skips: Skips = Skips()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a chain, in the words and the order in which `iptables-save` prints it."""

    chain: str
    match: tuple[str, ...]
    target: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(("-A", self.chain, *self.match, "-j", *self.target))


@dataclass(frozen=True, slots=True)
class Held:
    """What a nat table holds: own chains, the rules that jump to them (as printed), and whether any rule at all."""

    chains: tuple[str, ...] = ()
    jumps: tuple[str, ...] = ()
    rules: bool = False

    @property
    def own(self) -> bool:
        """Whether any of it is ours."""
        return bool(self.chains)


def parse_ports(text: str) -> tuple[PortRange, ...]:
    """The ranges of "8080,9000-9010", sorted, those that touch joined; none of "". Raises `PortsError`."""
    ranges, wrong = [], []
    for item in _items(text):
        found = _PORTS(item)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if 1 <= first <= last <= HIGHEST_PORT:
            ranges.append(PortRange(first, last))
        else:
            wrong.append(f"{item!r} is not a port from 1 to {HIGHEST_PORT} or a range like 9000-9010")
    if wrong:
        raise PortsError("; ".join(wrong))
    return join_ranges(ranges)


def parse_subnets(text: str) -> tuple[Subnet, ...]:
    """The subnets of "10.0.0.0/8,fd00::/8", overlaps joined, IPv4 first; none of "". Raises `SubnetsError`."""
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    wrong = []
    for item in _items(text):
        try:
            subnet = _subnet(item)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if isinstance(subnet, ipaddress.IPv4Network):
            v4.append(subnet)
        else:
            v6.append(subnet)
    if wrong:
        raise SubnetsError("; ".join(wrong))
    return (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))


def join_ranges(ranges: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports in the fewest ranges, sorted."""
    joined: list[PortRange] = []
    for item in sorted(ranges):
        if joined and item.first <= joined[-1].last + 1:
            joined[-1] = PortRange(joined[-1].first, max(joined[-1].last, item.last))
        else:
            joined.append(item)
    return tuple(joined)


def rules(interception: Interception, family: Family) -> tuple[Rule, ...]:
    """The rules of both chains for one family. Only TCP gets into the chains."""
    admin = PortRange(interception.admin_port, interception.admin_port)
    inbound = interception.inbound_skips
    return (
        *_subnet_rules(INBOUND, "-s", inbound.subnets, family),
        *_port_rules(INBOUND, join_ranges((admin, *inbound.ports))),
        _redirect(INBOUND, interception.inbound_port),
        _return(OUTBOUND, "-m", "owner", "--uid-owner", str(interception.proxy_uid)),
        _return(OUTBOUND, "-o", "lo"),
        *_subnet_rules(OUTBOUND, "-d", interception.outbound_skips.subnets, family),
        *_port_rules(OUTBOUND, interception.outbound_skips.ports),
        _redirect(OUTBOUND, interception.outbound_port),
    )


def held(saved: str) -> Held:
    """Reads what `iptables-save` printed; tables other than nat are passed over."""
    table = ""
    chains, jumps, any_rule = [], [], False
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif table != "nat":
            continue
        elif line.startswith(":"):
            chains.append(line[1:].split()[0])
        elif line.startswith("-A "):
            any_rule = True
            if _jumps_to_own(line):
                jumps.append(line)
    return Held(tuple(name for name, _ in HOOKS if name in chains), tuple(jumps), any_rule)


def installation(interception: Interception, family: Family, now: Held) -> str:
    """The transaction after which exactly `interception` holds, whatever of it was there before."""
    lines = [
        "*nat",
        *(f":{chain} - [0:0]" for chain, _ in HOOKS),  # makes the chain, or empties it
        *_without(now.jumps),
        *map(str, rules(interception, family)),
        # In front, so that no rule of others takes a connection away before it.
        *(f"-I {hook} 1 -p tcp -j {chain}" for chain, hook in HOOKS),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def removal(now: Held) -> str:
    """The transaction after which nothing of ours is left."""
    lines = [
        "*nat",
        *_without(now.jumps),
        *(f"-F {chain}" for chain in now.chains),
        *(f"-X {chain}" for chain in now.chains),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _subnet(item: str) -> Subnet:
    try:
        # A zone ("fe80::1%eth0") may be any text, and no rule can hold one.
        interface = None if "%" in item else ipaddress.ip_interface(item)
    except ValueError:
        interface = None
    if interface is None:
        raise ValueError(f"{item!r} is not a subnet like 10.0.0.0/8 or fd00::/8")
    if interface.ip != interface.network.network_address:
        raise ValueError(f"{item!r} has bits beyond its prefix; did you mean {interface.network}?")
    return interface.network


def _return(chain: str, *match: str) -> Rule:
    return Rule(chain, match, ("RETURN",))


def _redirect(chain: str, port: int) -> Rule:
    return Rule(chain, ("-p", "tcp"), ("REDIRECT", "--to-ports", str(port)))


def _port_rules(chain: str, ranges: Iterable[PortRange]) -> Iterable[Rule]:
    return (_return(chain, "-p", "tcp", "-m", "tcp", "--dport", str(item)) for item in ranges)


def _subnet_rules(chain: str, side: str, subnets: Iterable[Subnet], family: Family) -> Iterable[Rule]:
    return (_return(chain, side, str(subnet)) for subnet in subnets if subnet.version == family)


def _jumps_to_own(line: str) -> bool:
    words = shlex.split(line)  # a comment is one word, whatever it says
    own = {chain for chain, _ in HOOKS}
    leads = any(flag in ("-j", "-g") and target in own for flag, target in itertools.pairwise(words))
    return leads and words[1] not in own


def _without(jumps: Iterable[str]) -> Iterable[str]:
    return (f"-D {line.removeprefix('-A ')}" for line in jumps)
