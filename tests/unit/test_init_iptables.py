"""`meshctl init-iptables` where it must not, or cannot, run anything: wrong options, missing programs, a dry run.

What it does to a real network namespace is tested in `tests/netns`.
"""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from injector.iptables import Held, Interception, Skips, installation, parse_ports
from meshctl.__main__ import cli
from meshctl.init_iptables import init_iptables as init_iptables_command
from tests.support.process import ROOT

BACKENDS = ("nft", "legacy")


@pytest.fixture
def tripwire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once one of iptables' programs was started."""
    touched = tmp_path / "started"
    for name in (
        f"{ip}tables-{backend}-{action}"
        for ip in ("ip", "ip6")
        for backend in BACKENDS
        for action in ("save", "restore")
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n: > {touched}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return touched


@pytest.fixture
def without_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def init_iptables(*options: str) -> Result:
    return CliRunner().invoke(cli, ["init-iptables", *options])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--inbound-port", "0"], "'--inbound-port': 0 is not in the range"),
        (["--outbound-port", "65536"], "'--outbound-port': 65536 is not in the range"),
        (["--admin-port", "http"], "'--admin-port': 'http' is not a valid integer"),
        (["--proxy-uid", "0"], "'--proxy-uid': 0 is not in the range"),
        (["--inbound-port", "4140"], "--inbound-port and --outbound-port must differ; both are 4140"),
        (["--skip-inbound-ports", "80,70000"], "'--skip-inbound-ports': '70000' is not a port"),
        (["--skip-outbound-ports", "$(id)"], "'--skip-outbound-ports': '$(id)' is not a port"),
        (["--skip-inbound-subnets", "10.0.0.1/8"], "'--skip-inbound-subnets': '10.0.0.1/8' has bits beyond"),
        (["--skip-outbound-subnets", "x\n-F"], "'--skip-outbound-subnets': 'x\\n-F' is not a subnet"),
        (["--backend", "ebtables"], "'--backend': 'ebtables' is not one of"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--dry-run"], ["--remove"]])
def test_wrong_options_are_named_and_nothing_is_run(
    options: list[str], complaint: str, mode: list[str], tripwire: Path
) -> None:
    done = init_iptables(*options, *mode)
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert not tripwire.exists()


def test_the_tripwire_works(tripwire: Path) -> None:
    assert init_iptables().exit_code == 0
    assert tripwire.exists()


@pytest.mark.usefixtures("without_programs")
@pytest.mark.parametrize("mode", [[], ["--remove"]])
def test_missing_programs_are_named(mode: list[str]) -> None:
    done = init_iptables(*mode)
    assert (done.exit_code, done.stdout) == (1, "")
    for backend in BACKENDS:
        assert f"iptables-{backend}-save is not installed, or not on PATH" in done.stderr


@pytest.mark.usefixtures("without_programs")
def test_a_backend_that_is_named_is_the_only_one_tried() -> None:
    done = init_iptables("--backend", "legacy")
    assert done.exit_code == 1
    assert "iptables-legacy-save is not installed" in done.stderr
    assert "nft" not in done.stderr


@pytest.mark.usefixtures("without_programs")
def test_a_dry_run_prints_both_families_without_any_program() -> None:
    done = init_iptables("--dry-run", "--ipv6", "--skip-inbound-ports", "22")
    assert done.exit_code == 0
    interception = Interception(inbound_skips=Skips(parse_ports("22")))
    four, six = (installation(interception, family, Held()) for family in (4, 6))
    assert done.stdout == f"# iptables-nft-restore --noflush\n{four}\n# ip6tables-nft-restore --noflush\n{six}\n"
    assert "shown as if there were no rules yet: iptables-nft-save is not installed" in done.stderr


@pytest.mark.usefixtures("without_programs")
def test_a_dry_run_without_ipv6_says_nothing_of_it() -> None:
    done = init_iptables("--dry-run", "--no-ipv6", "--backend", "legacy")
    assert done.stdout == f"# iptables-legacy-restore --noflush\n{installation(Interception(), 4, Held())}\n"
    assert "ip6" not in done.stderr


def test_the_documentation_names_every_option_and_its_default() -> None:
    page = (ROOT / "docs" / "interception.md").read_text()
    documented = dict(re.findall(r"(?m)^\| `(--[^`]+)` \| (?:`(.+?)`|[^|`]+) \|", page))
    options = {
        "/".join([*option.opts[:1], *option.secondary_opts]): option.default for option in init_iptables_command.params
    }
    assert documented == {
        name: str(default) if isinstance(default, int | str) and not isinstance(default, bool) else ""
        for name, default in options.items()
    }
