"""`meshctl inject` and `meshctl uninject`: manifests in, manifests on stdout, a report on stderr.

What is changed in a pod is `injector.patch`'s business, how text is read and written `meshctl.manifests`'. Here is
what goes between: which pods there are, what their Namespace says if it is among the manifests, and what to tell. When
anything is wrong nothing is written, so that `meshctl inject ... | kubectl apply -f -` applies all or nothing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from injector.settings import CONTROLLER
from proxy.version import VERSION

if TYPE_CHECKING:
    from injector.report import Operation, Outcome
    from injector.workloads import Workload
    from meshctl.manifests import Document

EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2

EXIT_CODES = """\b
Exit codes:
  0  the manifests are on stdout
  1  a file could not be read; nothing is written to stdout
  2  wrong usage, a manifest that cannot be understood or a wrong annotation; nothing is written to stdout
"""

PATHS = click.argument("paths", metavar="[FILE|DIR|-]...", nargs=-1)


@dataclass(slots=True)
class Tally:
    """Tells of each object, counts, and remembers whether anything was wrong."""

    done: str
    counts: Counter[str] = field(default_factory=Counter)
    wrong: bool = False

    def tell(self, source: str, workload: Workload, outcome: Outcome) -> None:
        report, name = outcome.report, f"{source}: {workload.name}"
        if report.reason is None:
            click.echo(f"{name}: {self.done}", err=True)
        else:
            told = "; ".join(report.details)
            click.echo(f"{name}: not {self.done}: {told} ({report.reason})", err=True)
            self.wrong = self.wrong or report.reason.is_error
        for warning in (*report.warnings, *_warnings(workload, outcome)):
            click.echo(f"{name}: warning: {warning}", err=True)
        self.counts[report.reason or ""] += 1

    def sum_up(self) -> None:
        others = ", ".join(f"{reason} {count}" for reason, count in sorted(self.counts.items()) if reason)
        left = self.counts.total() - self.counts[""]
        click.echo(f"{self.counts['']} {self.done}, {left} not{f' ({others})' if others else ''}", err=True)


@click.command(epilog=EXIT_CODES)
@PATHS
@click.option("--image", metavar="NAME", help="The sidecar's image.  [default: meshctl:VERSION]")
@click.option(
    "--native-sidecar/--no-native-sidecar",
    default=True,
    show_default=True,
    help="As an init container that goes on running (Kubernetes 1.29), or as an ordinary container.",
)
@click.option(
    "--discovery",
    type=click.Choice(["controller", "direct", "none"]),
    default="controller",
    show_default=True,
    help="Who tells the sidecar of endpoints: the controller, the Kubernetes API itself, or nobody.",
)
@click.option(
    "--controller",
    metavar="HOST:PORT",
    default=CONTROLLER,
    show_default=True,
    help="The controller's endpoint service.",
)
def inject(paths: tuple[str, ...], image: str | None, native_sidecar: bool, discovery: str, controller: str) -> None:
    """Put the sidecar into the pods of Kubernetes manifests.

    Reads files, the .yaml, .yml and .json files of directories, or stdin, and writes all of it to stdout. Pods whose
    annotations (or whose Namespace's, if it is among the manifests) say meshctl.io/inject: disabled stay as they
    are; other annotations change settings (docs/injection.md). Injecting again changes nothing.
    """
    from injector.annotations import image as checked
    from injector.patch import injection
    from injector.settings import Settings
    from proxy.address import named_address
    from proxy.schema import INVALID, Errors

    if named_address(controller, "", Errors()) is INVALID:
        raise click.BadParameter(f"{controller!r} is not host:port, such as {CONTROLLER}", param_hint="--controller")
    try:
        settings = Settings(
            image=checked(image or default_image()),
            native_sidecar=native_sidecar,
            discovery=discovery,
            controller_address=controller,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--image") from error
    _run(
        paths,
        Tally("injected"),
        lambda pod, namespace: injection(pod, settings, namespace, by_default=True),
    )


@click.command(epilog=EXIT_CODES)
@PATHS
def uninject(paths: tuple[str, ...]) -> None:
    """Take the sidecar out of the pods of Kubernetes manifests.

    Reads and writes as inject does, and undoes it: what comes out is what went in there.
    """
    from injector.patch import removal

    _run(paths, Tally("uninjected"), lambda pod, _: removal(pod))


def default_image() -> str:
    """The image of this version."""
    return f"meshctl:{VERSION}"


def _run(paths: Sequence[str], tally: Tally, change: Callable[[Mapping[str, Any], Mapping[str, Any]], Outcome]) -> None:
    from meshctl.manifests import ManifestError, joined

    if not paths and sys.stdin.isatty():
        raise click.UsageError("Name a FILE or a DIR, or - to type manifests here.")
    try:
        read = list(_documents(paths or ("-",)))
        namespaces = _namespaces(read)
        texts = [_changed(document, namespaces, tally, change) for document in read]
    except OSError as error:
        _fail(f"{error.filename or 'stdin'}: {error.strerror or error}", EXIT_FAILED)
    except ManifestError as error:
        _fail(str(error), EXIT_WRONG_INPUT)
    tally.sum_up()
    if tally.wrong:
        sys.exit(EXIT_WRONG_INPUT)
    click.echo(joined(texts).encode(), nl=False)


def _documents(paths: Sequence[str]) -> Iterator[Document]:
    from meshctl.manifests import STDIN, ManifestError, documents, sources

    for path in (source for named in paths for source in sources(named)):
        name = "stdin" if path == STDIN else path
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
        try:
            text = content.decode("utf-8")
        except ValueError as error:
            raise ManifestError(f"{name}: is not UTF-8 text: {error}") from error
        yield from documents(name, text)


def _found(document: Document) -> list[Workload]:
    from injector.workloads import workloads
    from meshctl.manifests import ManifestError

    try:
        return [] if document.data is None else list(workloads(document.data))
    except ValueError as error:
        raise ManifestError(f"{document.source}: {error}") from error


def _namespaces(read: Sequence[Document]) -> dict[str, Mapping[str, Any]]:
    """The annotations of the Namespaces among the manifests."""
    found = (workload for document in read for workload in _found(document) if workload.kind == "Namespace")
    return {each.held["metadata"].get("name"): each.annotations() for each in found if each.annotations()}


def _changed(
    document: Document,
    namespaces: Mapping[str, Mapping[str, Any]],
    tally: Tally,
    change: Callable[[Mapping[str, Any], Mapping[str, Any]], Outcome],
) -> str:
    from injector.patch import rebased
    from injector.report import Outcome

    patch: list[Operation] = []
    for workload in _found(document):
        pod = workload.pod()
        outcome = pod if isinstance(pod, Outcome) else change(pod, namespaces.get(workload.namespace, {}))
        tally.tell(document.source, workload, outcome)
        patch += rebased(outcome.patch, workload.pod_path or ())
    return document.patched(patch)


def _warnings(workload: Workload, outcome: Outcome) -> Iterator[str]:
    """What only the object around the pod shows."""
    from injector.settings import CONFIG_PREFIX, INJECT, SIDECAR
    from injector.workloads import RUNS_TO_ITS_END

    misplaced = [name for name in workload.annotations() if name == INJECT or str(name).startswith(CONFIG_PREFIX)]
    if misplaced and workload.pod_path not in (None, workload.path):
        yield f"{', '.join(misplaced)} has no effect here: it belongs to the pod template's metadata.annotations"
    ordinary = any(
        operation["path"] == "/spec/containers/0" and operation["op"] == "add" and operation["value"]["name"] == SIDECAR
        for operation in outcome.patch
    )
    if ordinary and workload.kind in RUNS_TO_ITS_END:
        yield "it is complete only when its sidecar has ended too: let it end with `meshctl shutdown`"


def _fail(problem: str, code: int) -> NoReturn:
    click.echo(f"Error: {problem}", err=True)
    sys.exit(code)
