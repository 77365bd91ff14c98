"""What commands for a running cluster share: their options, and how one runs and ends when the cluster is no help.

`@access_options` adds `--kubeconfig`, `--context` and `--timeout` and passes what they say as `access`;
`@namespace_option` adds `--namespace`, the one that meshctl is installed in. `ask(access, work)` runs `work` with a
`meshctl.cluster.Cluster` and returns what it returns. Nothing here imports a Kubernetes client before that.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from meshctl.access import ANSWER_S, Access
from meshctl.parameters import NAMESPACE_NAME, Seconds

if TYPE_CHECKING:
    from meshctl.cluster import Cluster

NAMESPACE = "meshctl"
DISTRIBUTION = "meshctl-proxy"
EXTRA = ("kubernetes_asyncio", "aiohttp")
EXIT_UNKNOWN = 2  # as for wrong usage: nothing is known about the cluster
EXIT_INTERRUPTED = 130

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

namespace_option = click.option(
    "-n",
    "--namespace",
    type=NAMESPACE_NAME,
    default=NAMESPACE,
    show_default=True,
    metavar="NAME",
    help="The namespace that meshctl is installed in.",
)


pod_namespace_option = click.option(
    "-n", "--namespace", type=NAMESPACE_NAME, metavar="NAME", help="The pod's namespace.  [default: the context's]"
)
controller_namespace_option = click.option(
    "--controller-namespace",
    type=NAMESPACE_NAME,
    default=NAMESPACE,
    show_default=True,
    metavar="NAME",
    help="The namespace that meshctl is installed in.",
)


class AbsentError(click.ClickException):
    """What was asked for is not there: said on stderr, with what to do about it; the exit code is 1."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}\nHint: {hint}" if hint else problem)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say which cluster is meant; the command gets them as `access`."""

    @click.option(
        "--kubeconfig", metavar="FILE", help="The kubeconfig.  [default: KUBECONFIG, ~/.kube/config, or the pod's own]"
    )
    @click.option("--context", metavar="NAME", help="The context in it.  [default: the current one]")
    @click.option(
        "--timeout",
        "timeout_s",
        type=Seconds(min=0, min_open=True),
        default=ANSWER_S,
        show_default=True,
        metavar="SECONDS",
        help="How long one answer may take.",
    )
    @functools.wraps(command)
    def with_access(*args: Any, kubeconfig: str | None, context: str | None, timeout_s: float, **options: Any) -> Any:
        access = Access(kubeconfig=kubeconfig, context=context, timeout_s=timeout_s)
        return command(*args, access=access, **options)

    return with_access


def ask(access: Access, work: Callable[[Cluster], Awaitable[T]]) -> T:
    """What `work` returns. When there is no way to the cluster, or it refuses, says why and exits with 2."""
    with needed():
        from meshctl.cluster import Cluster, ClusterError

    async def run() -> T:
        async with Cluster(access) as cluster:
            return await work(cluster)

    try:
        with needed():
            return asyncio.run(run())
    except ClusterError as error:
        fail(str(error), error.hint)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


@contextmanager
def needed() -> Iterator[None]:
    """Says which extra is missing if one of its packages is not there, and exits."""
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        fail(f"this command needs {error.name}, which is not installed", f"pip install '{DISTRIBUTION}[kubernetes]'")


def fail(problem: str, hint: str = "", code: int = EXIT_UNKNOWN) -> NoReturn:
    """Says what is wrong and what to do about it on stderr, and exits."""
    click.echo(f"Error: {problem}", err=True)
    if hint:
        click.echo(f"Hint: {hint}", err=True)
    sys.exit(code)
