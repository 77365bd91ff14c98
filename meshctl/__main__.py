"""The command line: all of `meshctl`'s commands; docs/cli.md describes them.

Reads arguments, calls what does the work and exits with its status. Each command imports its work when it is
called, so that none pays for another. What the commands do is not known here.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from meshctl.check.command import check
from meshctl.completion import completion
from meshctl.endpoints import endpoints
from meshctl.init_iptables import init_iptables
from meshctl.inject import inject, uninject
from meshctl.install import install, uninstall, upgrade
from meshctl.lifecycle import await_ready, shutdown
from meshctl.metrics import metrics
from meshctl.options import EXIT_INTERRUPTED
from meshctl.versions import version
from proxy.config import ClusterConfig, Config, ConfigError, ListenerConfig, MatchConfig, RouteConfig, load
from proxy.version import VERSION

PROGRAM = "meshctl"
EXIT_WRONG_CONFIG = 2
ALL_PASSES: Final = " (all passes through to where it was going)"
DISK_TROUBLES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "In a cluster": ("install", "upgrade", "uninstall", "check", "endpoints", "metrics", "inject", "uninject"),
    "In a pod": ("proxy", "init-iptables", "await", "shutdown"),
    "Here": ("demo", "completion", "version"),
}
"""The commands as help lists them, and docs/cli.md."""

GENERAL_EXIT_CODES = """\b
Exit codes:
  0  it did what was asked
  1  it looked, and the answer is no
  2  nothing was done, or nothing is known: wrong usage or input, or a cluster that cannot be asked
  130  interrupted
"""

EXIT_CODES = """\b
Exit codes:
  0  it did what was asked
  1  it failed while running
  2  wrong usage or a wrong configuration
"""

DEMO_EXIT_CODES = """\b
Exit codes:
  0  everything it shows held
  1  something did not hold, or it could not run
  2  wrong usage
  130  interrupted
"""


class Commands(click.Group):
    """The commands in groups, and how each ends that is interrupted or cannot write."""

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(limit=100)) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno not in DISK_TROUBLES:
                raise
            raise click.ClickException(f"the output cannot be written: {error.strerror}") from error


@click.group(cls=Commands, epilog=GENERAL_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="%(prog)s %(version)s", help="Print the version and exit.")
def cli() -> None:
    """A sidecar proxy that balances gRPC call by call.

    `meshctl demo` shows the problem and the cure in about a minute.
    """


@cli.command(epilog=EXIT_CODES)
@click.option("--config", "config_option", metavar="FILE", type=click.Path(path_type=Path), help="The YAML file.")
@click.option("--check", is_flag=True, help="Only say whether the file is right: a summary, or every error.")
@click.argument("config_argument", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
def proxy(config_option: Path | None, config_argument: Path | None, check: bool) -> None:
    """Run the proxy described by FILE, until SIGTERM.

    SIGTERM drains: calls that run may finish within shutdown_grace_s; a second one stops at once. SIGHUP, or
    a change of FILE, applies the new configuration without losing a call; a wrong one is refused.
    """
    if (config_option is None) == (config_argument is None):
        raise click.UsageError("Name one configuration file: --config FILE, or FILE alone.")
    path = config_option or config_argument
    assert path is not None
    if check:
        sys.exit(check_config(path))
    from proxy.app import main as run_proxy

    sys.exit(run_proxy(path))


@cli.command(epilog=DEMO_EXIT_CODES)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
def demo(keep: bool) -> None:
    """Show on real gRPC traffic what the proxy is for.

    An emoji voting application runs on loopback with three voting pods: first balanced by connection, then by
    call through the proxy; then one pod becomes slow, and one is killed and comes back.
    """
    try:
        from meshctl.demo import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("grpc", "google", "rich"):
            raise
        raise click.ClickException(
            f"The demo needs {error.name}, which is not installed: pip install 'meshctl-proxy[demo]'"
        ) from error
    sys.exit(run(keep=keep))


for command in (
    install,
    upgrade,
    uninstall,
    inject,
    uninject,
    check,
    endpoints,
    metrics,
    init_iptables,
    await_ready,
    shutdown,
    completion,
    version,
):
    cli.add_command(command)


def check_config(path: Path) -> int:
    """Prints whether a configuration file is right; returns the exit code."""
    try:
        config = load(path)
    except ConfigError as error:
        for line in error.errors:
            click.echo(f"{path}: {line}", err=True)
        return EXIT_WRONG_CONFIG
    click.echo(f"{path}: ok")
    for line in summary(config):
        click.echo(line)
    return 0


def summary(config: Config) -> list[str]:
    """What a configuration holds, in aligned lines."""
    named = {name for route in config.routes for name, _ in route.targets}
    listeners = [(item.name, str(item.address), _accepted(item)) for item in config.listeners]
    clusters = [
        (
            item.name,
            item.protocol,
            item.balancer,
            _source(item) + ("" if item.name in named else " (no route leads here)"),
        )
        for item in config.clusters
    ]
    routes = [(_calls(route.match), "->", _targets(route)) for route in config.routes]
    discovery = _discovery(config)
    return [
        f"admin: {config.admin.address}",
        *_table("listeners", listeners),
        *_table("clusters", clusters),
        *(_table("routes", routes) if routes else [f"routes: 0{'' if discovery else ALL_PASSES}"]),
        *discovery,
    ]


def _accepted(listener: ListenerConfig) -> str:
    """What a listener takes, as "detect, intercepts outbound"."""
    return listener.protocol + (f", intercepts {listener.intercept}" if listener.intercept else "")


def _discovery(config: Config) -> list[str]:
    """Who is asked of names that no route takes."""
    asked = {"controller": f"controller {config.discovery.controller}", "direct": "direct, the Kubernetes API"}
    return [f"discovery: {asked[config.discovery.mode]}"] if config.discovery.mode in asked else []


def _source(cluster: ClusterConfig) -> str:
    if cluster.dns is not None:
        return f"dns {cluster.dns.name}:{cluster.dns.port}"
    if (of := cluster.kubernetes) is not None:
        return f"kubernetes {of.namespace}/{of.service}:{of.port}"
    count = len(cluster.static.endpoints) if cluster.static is not None else 0
    return f"static, {count} endpoint{'' if count == 1 else 's'}"


def _calls(match: MatchConfig) -> str:
    """The calls a route takes, as "authority/path", and where they come from and were going if it says so."""
    method = f"/{match.service}/{match.method or '*'}"
    path = f"{match.path_prefix or '/'}*" if match.service is None else method
    calls = [f"{match.authority or '*'}{path}"]
    calls += [f"at {match.listener}"] if match.listener else []
    calls += [f"to {match.destination}"] if match.destination else []
    return " ".join(calls)


def _targets(route: RouteConfig) -> str:
    if route.cluster is not None:
        return route.cluster
    return ", ".join(f"{name} {weight}" for name, weight in route.targets)


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"{title}: {len(rows)}",
        *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows),
    ]


def main() -> None:
    """The entry point."""
    cli(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
