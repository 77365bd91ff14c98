"""`meshctl install`, `upgrade` and `uninstall`: manifests on stdout, for kubectl; what there is to say on stderr.

Nothing is changed in the cluster here. `install` needs no cluster at all; the other two read what is there. What
belongs to an installation is `meshctl.installation`'s business. When anything is wrong nothing is written to stdout, so
that `kubectl apply` gets all or nothing.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from meshctl.options import NAMESPACE, access_options, ask, fail, namespace_option

if TYPE_CHECKING:
    from meshctl.access import Access
    from meshctl.chart.render import Manifest
    from meshctl.chart.values import Values
    from meshctl.cluster import Cluster
    from meshctl.installation import Identity

EXIT_WRONG_VALUES = 2
KEPT = ("Namespace", "Secret", "Lease")  # not the chart's, so an upgrade has nothing to say about them

EXIT_CODES = """\b
Exit codes:
  0  the manifests are on stdout
  2  wrong usage or values, or the cluster is no help; nothing is written to stdout
"""


def value_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that set values of the chart; the command gets them as `given`."""

    @click.option("--image", metavar="NAME[:TAG]", help="The image.  [default: meshctl, with this version as tag]")
    @click.option("--ha/--no-ha", default=None, help="Three replicas of the controller.")
    @click.option(
        "--namespace-only",
        is_flag=True,
        default=None,
        help="Nothing outside of --namespace, and no webhook; `meshctl inject` puts the sidecars in.",
    )
    @click.option(
        "--certificates",
        type=click.Choice(["self", "provided"]),
        help="Who makes the webhook's certificate: the controller itself, or you, in a Secret.",
    )
    @click.option("--values", "files", metavar="FILE", multiple=True, help="Values of the chart, as for Helm.")
    @click.option("--set", "pairs", metavar="KEY=VALUE", multiple=True, help="One value of the chart.")
    @functools.wraps(command)
    def with_values(
        *args: Any,
        image: str | None,
        ha: bool | None,
        namespace_only: bool | None,
        certificates: str | None,
        files: Sequence[str],
        pairs: Sequence[str],
        **options: Any,
    ) -> Any:
        named = {"ha": ha, "namespaceOnly": namespace_only}
        given: Values = {key: value for key, value in named.items() if value is not None}
        if certificates is not None:
            given["webhook"] = {"certificates": certificates}
        if image is not None:
            given["image"] = _image(image)
        return command(*args, given=_given(files, given, pairs), **options)

    return with_values


@click.command(epilog=EXIT_CODES)
@namespace_option
@value_options
@click.pass_context
def install(context: click.Context, namespace: str, given: Values) -> None:
    """Print the manifests that install the controller.

    \b
      meshctl install | kubectl apply -f -

    The values of the chart (deploy/chart/values.yaml, docs/install.md) are set with --set and --values; options and
    --set come after files. Applying again changes only what is different.
    """
    unsaid = context.get_parameter_source("namespace") is click.core.ParameterSource.DEFAULT
    if given.get("namespaceOnly") is True and unsaid:
        raise click.UsageError("--namespace-only needs --namespace: the one whose Services are called.")
    _write(_manifests(given, namespace))


@click.command(epilog=EXIT_CODES)
@namespace_option
@access_options
@value_options
def upgrade(namespace: str, access: Access, given: Values) -> None:
    """Print the manifests of this version, with the settings of the installation that runs.

    \b
      meshctl upgrade | kubectl apply -f -

    The settings are read from the cluster; options and --set come on top. What the installation has no more use
    for is named on stderr.
    """
    from meshctl.chart.values import ValuesError, merged
    from meshctl.installation import identity, parts, settings

    async def read(cluster: Cluster) -> tuple[Values | None, list[Identity]]:
        return await settings(cluster, namespace), await parts(cluster, namespace)

    try:
        before, there = ask(access, read)
    except ValuesError as error:
        fail(f"the settings that the cluster has cannot be read: {error}", "set them again with meshctl install")
    if before is None:
        _no_installation(namespace, "install it with `meshctl install`, or ")
    after = merged(before, given)
    made = _manifests(after, namespace)
    _tell_of_pinned_image(after)
    wanted = {identity(manifest.object) for manifest in made}
    for each in there:
        if each not in wanted and each.kind not in KEPT:
            at = f"--namespace {each.namespace} " if each.namespace else ""
            click.echo(f"No longer needed: kubectl {at}delete {each.kind.lower()} {each.name}", err=True)
    _write(made)


@click.command(epilog=EXIT_CODES)
@namespace_option
@access_options
def uninstall(namespace: str, access: Access) -> None:
    """Print what there is of the installation, to be deleted.

    \b
      meshctl uninstall | kubectl delete -f -

    The webhook comes first, so that no pod waits for it; the Secret and the Lease that the controller made are among
    the objects. Sidecars stay in the pods that have them. The namespace stays if it holds something else.
    """
    from meshctl.chart.functions import to_yaml
    from meshctl.chart.render import Manifest
    from meshctl.installation import others, parts

    async def read(cluster: Cluster) -> tuple[list[Identity], list[str]]:
        there = await parts(cluster, namespace)
        has_namespace = any(each.kind == "Namespace" for each in there)
        return there, await others(cluster, namespace, there) if has_namespace else []

    there, rest = ask(access, read)
    if not there:
        _no_installation(namespace)
    if rest:
        listed = ", ".join(rest[:5]) + (", ..." if len(rest) > 5 else "")
        click.echo(f"The namespace {namespace} stays: it holds {listed}", err=True)
        there = [each for each in there if each.kind != "Namespace"]
    _write([Manifest(to_yaml(each.object(), sort_keys=False) + "\n", each.object()) for each in there])


def _manifests(given: Values, namespace: str) -> list[Manifest]:
    from meshctl.chart.values import ValuesError
    from meshctl.installation import manifests

    try:
        return manifests(given, namespace)
    except ValuesError as error:
        _wrong(error.errors)


def _given(files: Sequence[str], options: Values, pairs: Sequence[str]) -> Values:
    """What files, options and --set say, the later over the earlier."""
    from meshctl.chart.values import ValuesError, merged, read, setting

    given: Values = {}
    errors: list[str] = []
    for file in files:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
            given = merged(given, read(text))
        except OSError as error:
            errors.append(f"{file}: {error.strerror or error}")
        except ValuesError as error:
            errors += [f"{file}: {line}" for line in error.errors]
        except ValueError as error:
            errors.append(f"{file}: is not UTF-8 text: {error}")
    given = merged(given, options)
    for pair in pairs:
        try:
            given = merged(given, setting(pair))
        except ValuesError as error:
            errors += [f"--set: {line}" for line in error.errors]
    if errors:
        _wrong(errors)
    return given


def _image(text: str) -> Mapping[str, str]:
    from injector.annotations import image

    try:
        name, _, digest = image(text).partition("@")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--image") from error
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return {"repository": f"{folder}{slash}{last}", "tag": tag, "digest": digest}


def _tell_of_pinned_image(values: Values) -> None:
    image = values.get("image") or {}
    for key in ("tag", "digest"):
        if image.get(key):
            click.echo(
                f"The image stays: image.{key} is {image[key]} (--set image.{key}= for this version's)", err=True
            )


def _no_installation(namespace: str, instead: str = "") -> NoReturn:
    fail(
        f"the namespace {namespace} has nothing that meshctl installed",
        f"{instead}say which one with --namespace, if it is not {NAMESPACE}; what Helm installed, Helm upgrades and "
        "uninstalls",
    )


def _wrong(errors: Sequence[str]) -> NoReturn:
    for line in errors:
        click.echo(f"Error: {line}", err=True)
    sys.exit(EXIT_WRONG_VALUES)


def _write(made: Sequence[Manifest]) -> None:
    click.echo("---\n".join(manifest.text for manifest in made).encode(), nl=False)
