"""`meshctl check`: the command. What is checked is `meshctl.check.stages`' business, how it is told `report`'s."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from meshctl.options import access_options, ask, namespace_option, needed
from meshctl.terminal import output_option, painted, show_json
from proxy.version import VERSION

if TYPE_CHECKING:
    from meshctl.access import Access
    from meshctl.check.finding import Result
    from meshctl.cluster import Cluster

EXIT_CODES = """\b
Exit codes:
  0  nothing is wrong; warnings may be there
  1  something is wrong; each problem says how to mend it
  2  wrong usage, the cluster could not be reached, or not all could be checked and the rest is well
"""


@click.command(epilog=EXIT_CODES)
@click.option("--pre", is_flag=True, help="Before installing: may you, and can this cluster have it?")
@namespace_option
@output_option
@access_options
def check(access: Access, pre: bool, namespace: str, output: str) -> None:
    """Say what is wrong with an installation, and how to mend it.

    Looks at the cluster, the controller, the webhook, the pods and their sidecars, and the Services. Changes nothing.
    """
    with needed():
        from meshctl.check import report

    groups: list[tuple[str, list[Result]]] = []
    ask(access, lambda cluster: _check(cluster, namespace, pre, output == "table", groups))
    everything = [result for _, results in groups for result in results]
    if output == "json":
        show_json(report.plain(groups))
    else:
        click.echo(f"\n{report.summary(everything)}")
    sys.exit(report.exit_code(everything))


async def _check(
    cluster: Cluster, namespace: str, pre: bool, shows: bool, groups: list[tuple[str, list[Result]]]
) -> None:
    """Fills `groups`, and prints them as they come if it `shows`."""
    from meshctl.check import report
    from meshctl.check.facts import Facts
    from meshctl.check.stages import AFTER, BEFORE, Stage, results

    facts = Facts(namespace=namespace, cli_version=VERSION, now_s=time.time())
    async for each in results(cluster, facts, BEFORE if pre else AFTER):
        if isinstance(each, Stage):
            lines = [*([""] if groups else []), painted(each.title, bold=True)]
            groups.append((each.title, []))
        else:
            lines = list(report.lines(each))
            groups[-1][1].append(each)
        for line in lines if shows else ():
            click.echo(line)
