"""`meshctl version`: of this program, and with `--cluster` of the controller and of the sidecars."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from meshctl.options import access_options, ask, namespace_option, needed
from meshctl.terminal import output_option, show_json, table
from proxy.version import VERSION

if TYPE_CHECKING:
    from meshctl.access import Access
    from meshctl.cluster import Cluster

EXIT_CODES = """\b
Exit codes:
  0  the versions are on stdout; controller or sidecars may be missing
  2  wrong usage, or the cluster could not be asked
"""


@click.command(epilog=EXIT_CODES)
@click.option("--cluster", "of_cluster", is_flag=True, help="Also of the controller and of the sidecars' images.")
@namespace_option
@output_option
@access_options
def version(access: Access, of_cluster: bool, namespace: str, output: str) -> None:
    """Print the version of meshctl and of Python, and of what runs in the cluster."""
    found: dict[str, Any] = {"client": VERSION, "python": platform.python_version()}
    if of_cluster:
        found |= ask(access, lambda cluster: _cluster(cluster, namespace))
    if output == "json":
        show_json(found)
        return
    click.echo(f"meshctl {VERSION}, Python {platform.python_version()}")
    if of_cluster:
        click.echo("\n".join(_lines(found)))


async def _cluster(cluster: Cluster, namespace: str) -> dict[str, Any]:
    with needed():
        from meshctl.check.facts import COMPONENT, key_of
        from meshctl.check.finding import Unread
        from meshctl.check.gather import controller_version, read
        from meshctl.check.pods import image
        from meshctl.check.podstate import is_ready
        from meshctl.check.selection import injected

    controllers = await cluster.list_all(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": COMPONENT})
    said = {}
    for pod in filter(is_ready, controllers):
        answer = await read(controller_version(cluster, key_of(pod)))
        said[key_of(pod)[1]] = None if isinstance(answer, Unread) else answer
    pods = await cluster.list_all("/api/v1/pods")
    return {"controllers": said, "sidecars": dict(Counter(image(pod) for pod in pods if injected(pod)).most_common())}


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for name, number in found["controllers"].items():
        yield f"controller {name}: {number or 'does not answer'}"
    if not found["controllers"]:
        yield "controller: none is ready"
    if found["sidecars"]:
        yield from table(("SIDECARS' IMAGE", "PODS"), found["sidecars"].items())
    else:
        yield "sidecars: none"
