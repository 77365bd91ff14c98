"""`meshctl completion`: the script that teaches a shell this program's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

EXIT_CODES = """\b
Exit codes:
  0  the script is on stdout
  2  wrong usage
"""


@click.command(epilog=EXIT_CODES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands and options.

    \b
    bash:  source <(meshctl completion bash)
    zsh:   source <(meshctl completion zsh)
    fish:  meshctl completion fish | source
    """
    program = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    name = program.info_name or "meshctl"
    click.echo(kind(program.command, {}, name, f"_{name.upper()}_COMPLETE").source())
