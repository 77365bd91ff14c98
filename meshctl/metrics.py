"""`meshctl metrics`: what a pod's sidecar counts. Fetches and prints; `meshctl.rates` works it out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from meshctl.options import AbsentError, access_options, ask, needed, pod_namespace_option
from meshctl.parameters import POD_NAME, Seconds
from meshctl.terminal import output_option, show_json, table

if TYPE_CHECKING:
    from meshctl.access import Access
    from meshctl.cluster import Cluster
    from meshctl.rates import Row

EXIT_CODES = """\b
Exit codes:
  0  the figures are on stdout
  1  there is no such pod, it has no sidecar, or that does not answer
  2  wrong usage, or the cluster could not be asked
"""


@click.command(epilog=EXIT_CODES)
@click.argument("pod", type=POD_NAME, metavar="[NS/]POD")
@click.option("--raw", is_flag=True, help="The page /metrics as it is, in Prometheus' text format.")
@click.option(
    "--interval",
    "interval_s",
    type=Seconds(min=0.1, max=3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Count for so long.",
)
@click.option(
    "--by",
    type=click.Choice(["cluster", "method", "endpoint"]),
    default="endpoint",
    show_default=True,
    help="A row for each cluster, for each gRPC method of it, or for each endpoint of that.",
)
@pod_namespace_option
@output_option
@access_options
def metrics(
    access: Access, pod: str, raw: bool, interval_s: float, by: str, namespace: str | None, output: str
) -> None:
    """Show the calls of a pod: how many a second, how many succeed, how long they take.

    Counts for some seconds what its sidecar sees: calls of the pod (outbound) and calls to it (inbound). Of TCP,
    connections are counted.
    """
    if raw:
        click.echo(ask(access, lambda cluster: _page(cluster, pod, namespace)), nl=False)
        return
    found, elapsed_s = ask(access, lambda cluster: _rows(cluster, pod, namespace, interval_s, by))
    if output == "json":
        show_json({"pod": pod, "interval_s": round(elapsed_s, 3), "rows": [row.plain() for row in found]})
    elif found:
        from meshctl.rates import cells

        click.echo("\n".join(table(*cells(found, by))))
    else:
        click.echo(f"no calls within {elapsed_s:.1f} s")


async def _page(cluster: Cluster, pod: str, namespace: str | None) -> str:
    with needed():
        from meshctl.pages import pod_key, sidecar_page

    return await sidecar_page(cluster, pod_key(pod, namespace or cluster.namespace), "/metrics")


async def _rows(
    cluster: Cluster, pod: str, namespace: str | None, interval_s: float, by: str
) -> tuple[list[Row], float]:
    from meshctl.rates import rows, sample

    try:
        before, began_s = sample(await _page(cluster, pod, namespace)), time.monotonic()
        await asyncio.sleep(interval_s)
        after, ended_s = sample(await _page(cluster, pod, namespace)), time.monotonic()
        return rows(before, after, ended_s - began_s, by), ended_s - began_s
    except (ValueError, KeyError) as error:
        raise AbsentError(f"what answers in pod {pod} is no sidecar") from error
