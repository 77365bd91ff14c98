"""`meshctl init-iptables`: the command's options, checked before anything is run, and its exit codes.

What it does is done in `meshctl.netfilter`, and the rules are made in `injector.iptables`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import click

from injector.iptables import (
    BACKENDS,
    HIGHEST_PORT,
    HIGHEST_UID,
    Interception,
    PortRange,
    Skips,
    Subnet,
    parse_ports,
    parse_subnets,
)

T = TypeVar("T")
DEFAULTS = Interception()
PORT = click.IntRange(1, HIGHEST_PORT)
EXIT_CODES = """\b
Exit codes:
  0  the rules are as asked for
  1  they could not be set: a program, a permission or a part of the kernel is missing
  2  wrong usage: nothing was run
"""


class ListOf(click.ParamType[tuple[T, ...]], Generic[T]):
    """A comma-separated list, read by a function that raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], tuple[T, ...]]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[T, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PORTS: ListOf[PortRange] = ListOf("ports", parse_ports)
SUBNETS: ListOf[Subnet] = ListOf("subnets", parse_subnets)


@click.command(epilog=EXIT_CODES, context_settings={"show_default": True})
@click.option("--inbound-port", type=PORT, default=DEFAULTS.inbound_port, help="Where inbound TCP goes.")
@click.option("--outbound-port", type=PORT, default=DEFAULTS.outbound_port, help="Where outbound TCP goes.")
@click.option("--admin-port", type=PORT, default=DEFAULTS.admin_port, help="Left out inbound.")
@click.option(
    "--proxy-uid",
    type=click.IntRange(1, HIGHEST_UID),
    default=DEFAULTS.proxy_uid,
    help="The user the proxy runs as: what it sends is left out.",
)
@click.option("--skip-inbound-ports", type=PORTS, default=(), help='Ports left out inbound: "8080,9000-9010".')
@click.option("--skip-outbound-ports", type=PORTS, default=(), help="Ports left out outbound.")
@click.option("--skip-inbound-subnets", type=SUBNETS, default=(), help='Sources left out: "10.0.0.0/8,fd00::/8".')
@click.option("--skip-outbound-subnets", type=SUBNETS, default=(), help="Destinations left out.")
@click.option(
    "--backend",
    type=click.Choice(("auto", *BACKENDS)),
    default="auto",
    help="Which iptables: auto takes the one that holds rules, else nft, else legacy.",
)
@click.option("--ipv6/--no-ipv6", default=None, help="Also IPv6; if neither is given, where the kernel has it.")
@click.option("--dry-run", is_flag=True, help="Print what would be restored, and change nothing.")
@click.option("--remove", "undo", is_flag=True, help="Undo it all; rules of others stay.")
def init_iptables(backend: str, ipv6: bool | None, dry_run: bool, undo: bool, **rules: Any) -> None:
    """Lead the TCP traffic of this network namespace through the proxy.

    Meant for an init container of the pod, with the capabilities NET_ADMIN and NET_RAW. Run again, also after
    an interruption, it ends in the same rules.
    """
    from meshctl.netfilter import NetfilterError, install, remove, show

    interception = _interception(**rules)
    try:
        if dry_run:
            show(None if undo else interception, backend, ipv6, click.echo, _warn)
        elif undo:
            remove(backend, ipv6, click.echo)
        else:
            install(interception, backend, ipv6, click.echo, _warn)
    except NetfilterError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


def _interception(
    *,
    skip_inbound_ports: tuple[PortRange, ...],
    skip_outbound_ports: tuple[PortRange, ...],
    skip_inbound_subnets: tuple[Subnet, ...],
    skip_outbound_subnets: tuple[Subnet, ...],
    **numbers: int,
) -> Interception:
    if numbers["inbound_port"] == numbers["outbound_port"]:
        raise click.UsageError(f"--inbound-port and --outbound-port must differ; both are {numbers['inbound_port']}.")
    return Interception(
        **numbers,
        inbound_skips=Skips(skip_inbound_ports, skip_inbound_subnets),
        outbound_skips=Skips(skip_outbound_ports, skip_outbound_subnets),
    )


def _warn(text: str) -> None:
    click.echo(f"Warning: {text}", err=True)
