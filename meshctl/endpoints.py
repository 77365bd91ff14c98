"""`meshctl endpoints`: which pods calls of an authority are balanced over, as controller or sidecar know them.

Asks, and prints. What an authority means is the controller's business (`proxy.discovery.kubernetes.names`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from meshctl.options import (
    AbsentError,
    access_options,
    ask,
    controller_namespace_option,
    needed,
    pod_namespace_option,
)
from meshctl.parameters import POD_NAME
from meshctl.terminal import output_option, show_json, table

if TYPE_CHECKING:
    from meshctl.access import Access
    from meshctl.cluster import Cluster

EXIT_CODES = """\b
Exit codes:
  0  the endpoints are on stdout; there may be none
  1  the authority is not known there, or who was asked does not answer
  2  wrong usage, or the cluster could not be asked
"""

CONTROLLER_HEADS = ("ADDRESS", "PORT", "POD", "ZONE", "WEIGHT")
SIDECAR_HEADS = ("ADDRESS", "POD", "WEIGHT", "STATE", "EWMA MS", "IN FLIGHT", "CALLS", "FAILURES")
SIDECAR_KEYS = ("address", "pod", "weight", "state", "ewma_ms", "in_flight", "calls", "failures")


@click.command(epilog=EXIT_CODES)
@click.argument("authority", required=False)
@click.option("--pod", type=POD_NAME, metavar="[NS/]POD", help="Ask the sidecar of that pod, and not the controller.")
@click.option("--zone", metavar="NAME", help="As a caller in that zone sees it; for the controller.")
@pod_namespace_option
@controller_namespace_option
@output_option
@access_options
def endpoints(access: Access, authority: str | None, pod: str | None, output: str, **options: str | None) -> None:
    """Show the pods that calls of AUTHORITY are balanced over.

    AUTHORITY is what an application calls: voting.emojivote:8080, 10.96.0.10:80, or just voting:8080 with the
    namespace (-n) of the pod that calls. The controller says which pods there are. With --pod its sidecar says how
    they do, of all that it calls if AUTHORITY is left out.
    """
    if not authority and pod is None:
        raise click.UsageError("Name an AUTHORITY, or with --pod a pod whose sidecar to ask.")
    if pod is not None:
        found = ask(access, lambda cluster: _of_sidecar(cluster, authority, pod, options["namespace"]))
        lines = _sidecar_lines
    else:
        assert authority
        found = ask(access, lambda cluster: _of_controller(cluster, authority, options))
        lines = _controller_lines
    if output == "json":
        show_json(found)
    else:
        click.echo("\n".join(lines(found)))


async def _of_controller(cluster: Cluster, authority: str, options: Mapping[str, str | None]) -> Any:
    with needed():
        from meshctl.cluster import RefusedError
        from meshctl.pages import controller_answer

    namespace, installed_in = options["namespace"] or cluster.namespace, options["controller_namespace"] or ""
    query = {"authority": authority, "namespace": namespace}
    if options["zone"]:
        query["zone"] = options["zone"]
    try:
        return await controller_answer(cluster, installed_in, "/endpoints", query)
    except RefusedError as error:
        if error.by_server or error.status != 404:
            raise
        raise AbsentError(
            f"the controller does not know {authority} (for callers in namespace {namespace}), so calls of it go where "
            "they were going",
            "is it SERVICE.NAMESPACE:PORT, and does the Service have that port? `kubectl get services -A`",
        ) from error


async def _of_sidecar(cluster: Cluster, authority: str | None, pod: str, namespace: str | None) -> dict[str, Any]:
    with needed():
        from meshctl.pages import pod_key, sidecar_page

    key = pod_key(pod, namespace or cluster.namespace)
    try:
        known = json.loads(await sidecar_page(cluster, key, "/endpoints"))
        names = sorted({each["name"] for each in known.values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise AbsentError(f"what answers in pod {'/'.join(key)} is no sidecar") from error
    found = {name: each for name, each in known.items() if authority is None or _is(each["name"], authority.lower())}
    if not found and authority is not None:
        raise AbsentError(
            f"the sidecar of pod {'/'.join(key)} does not know {authority}: not called lately, or not by that name",
            f"it knows {', '.join(names) or 'nothing yet'}",
        )
    return found


def _is(name: str, authority: str) -> bool:
    """Whether a cluster's name is that authority, whichever port it has if none was said."""
    name = name.lower()
    host, colon, port = name.rpartition(":")
    return name == authority or bool(colon and port.isdecimal() and host == authority)


def _controller_lines(found: Any) -> Iterator[str]:
    members = found["endpoints"]
    yield f"{found['service'] or found['authority']}: {_count(len(members))}, {found['protocol']}"
    if members:
        yield from table(
            CONTROLLER_HEADS,
            [[each.get(key) for key in ("address", "port", "pod", "zone", "weight")] for each in members],
        )


def _sidecar_lines(found: Mapping[str, Any]) -> Iterator[str]:
    if not found:
        yield "no endpoints: the application has called nothing yet"
    for number, cluster in enumerate(found.values()):
        if number:
            yield ""
        waiting = f", {cluster['pending']} calls wait" if cluster["pending"] else ""
        failing = ", calls are refused at once" if cluster["failfast"] else ""
        yield (
            f"{cluster['name']}: {_count(len(cluster['endpoints']))}, {cluster['protocol']}, {cluster['balancer']}"
            f"{waiting}{failing}"
        )
        if cluster["endpoints"]:
            yield from table(SIDECAR_HEADS, [[each[key] for key in SIDECAR_KEYS] for each in cluster["endpoints"]])


def _count(number: int) -> str:
    return "no endpoints" if number == 0 else f"{number} endpoint{'' if number == 1 else 's'}"
