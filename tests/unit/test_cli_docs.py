"""docs/cli.md and docs/troubleshooting.md say what the commands and the checks are, no more and no less."""

import re

import click
import pytest

from meshctl.__main__ import cli
from meshctl.check.stages import AFTER, BEFORE
from tests.support.process import ROOT

CLI = (ROOT / "docs" / "cli.md").read_text()
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text()
SHARED = "Options of commands for a running cluster"
OPTION = re.compile(r"--?[a-z][a-z0-9-]*")


def sections(text: str, level: str) -> dict[str, str]:
    """Texts by their headings."""
    found = re.split(rf"(?m)^{level} (.+)$", text)
    return dict(zip(found[1::2], found[2::2], strict=True))


def listed(section: str) -> set[str]:
    """The options in the first column of a section's table."""
    rows = re.findall(r"(?m)^\| (`-.*?) \| ", section)
    return {option for row in rows for option in OPTION.findall(row)}


SECTIONS = sections(CLI, "##")


def test_every_command_has_a_section_and_no_other_has() -> None:
    assert {name for name in SECTIONS if name.startswith("`")} == {f"`meshctl {name}`" for name in cli.commands}
    linked = set(re.findall(r"\(#meshctl-([a-z-]+)\)", CLI))
    assert linked == set(cli.commands)


@pytest.mark.parametrize("name", cli.commands)
def test_a_section_has_the_commands_usage_options_and_exit_codes(name: str) -> None:
    command, section = cli.commands[name], SECTIONS[f"`meshctl {name}`"]
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    assert f"    meshctl {name} {usage}\n" in section
    options = {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    shared = listed(SECTIONS[SHARED]) if "--kubeconfig" in options else set()
    assert listed(section) == options - shared
    assert bool(shared) == ("(#options-of-commands-for-a-running-cluster)" in section)
    codes = re.findall(r"(?m)^  (\d+)  (.+)$", command.epilog or "")
    assert codes
    assert re.findall(r"(?m)^\| (\d+) \| (.+) \|$", section) == codes


def test_options_that_are_shared_are_those_of_every_command_for_a_cluster() -> None:
    assert listed(SECTIONS[SHARED]) == {"--kubeconfig", "--context", "--timeout", "-o", "--output"}


def test_every_check_has_a_section_and_no_other_has() -> None:
    names = {check.name for stage in (*BEFORE, *AFTER) for check in stage.checks}
    assert set(sections(TROUBLES, "###")) == names


def test_every_stage_has_a_heading() -> None:
    headings = set(re.findall(r"(?m)^## (.+)$", TROUBLES))
    assert {stage.title for stage in AFTER} == headings
