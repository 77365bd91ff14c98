"""`meshctl init-iptables` in real namespaces, with both backends: the same rules from any state, and back again."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from injector.iptables import (
    BACKENDS,
    INBOUND,
    OUTBOUND,
    Family,
    Interception,
    Skips,
    parse_ports,
    parse_subnets,
    rules,
)
from tests.netns.network import Network
from tests.netns.pod import APP_UID, Pod
from tests.support.process import ROOT

FAMILIES: tuple[Family, ...] = (4, 6)
FOREIGN = (
    ":FOREIGN -",
    "-A PREROUTING -p tcp --dport 99 -j ACCEPT",
    "-A FOREIGN -p udp -j RETURN",
    "-A OUTPUT -p udp -j FOREIGN",
    '-A OUTPUT -p tcp --dport 98 -m comment --comment "to -j MESHCTL_OUTBOUND" -j FOREIGN',
)


def program(family: Family, backend: str, action: str) -> str:
    return f"{'ip6tables' if family == 6 else 'iptables'}-{backend}-{action}"


def restore(pod: Pod, backend: str, *lines: str, families: Sequence[Family] = FAMILIES) -> None:
    """Puts lines into the nat tables."""
    for family in families:
        pod.namespace.run(
            [program(family, backend, "restore"), "--noflush"], text="\n".join(("*nat", *lines, "COMMIT", ""))
        )


def nat(pod: Pod, backend: str, family: Family) -> list[str]:
    """The chains and rules of a nat table, without counters."""
    saved = pod.namespace.run([program(family, backend, "save"), "-t", "nat"])
    return [line.partition(" [")[0] for line in saved.splitlines() if not line.startswith("#")]


def both(pod: Pod, backend: str) -> list[list[str]]:
    return [nat(pod, backend, family) for family in FAMILIES]


def ours(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if INBOUND in line or OUTBOUND in line]


def init_iptables(pod: Pod, *options: str, uid: int = 0, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = ["env", f"PATH={path}"] if path else []
    command = [*environment, sys.executable, "-m", "meshctl", "init-iptables", *options]
    return subprocess.run(
        [*pod.namespace.place(uid).prefix, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, network6: Network) -> str:
    """Each backend that this machine has."""
    for family in FAMILIES:
        name = program(family, request.param, "restore")
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
        try:
            network6.node.run([name, "--noflush"], text="*nat\nCOMMIT\n")
        except AssertionError as error:
            pytest.skip(f"this kernel lacks the backend {request.param}: {error}")
    return str(request.param)


@pytest.fixture
def other(backend: str) -> str:
    """The other backend."""
    return next(name for name in BACKENDS if name != backend)


@pytest.fixture
def pod(network6: Network) -> Pod:
    return network6.pod("pod")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_holds_the_rules_as_they_were_rendered(pod: Pod, backend: str, family: Family) -> None:
    ports, subnets = "22,9000-9010,3306", "10.1.0.0/16,192.168.7.7,fd01::/16,fd02::7"
    wanted = Interception(4999, 4998, 4997, 1234, *[Skips(parse_ports(ports), parse_subnets(subnets))] * 2)
    options = ["--inbound-port=4999", "--outbound-port=4998", "--admin-port=4997", "--proxy-uid=1234"]
    for way in ("inbound", "outbound"):
        options += [f"--skip-{way}-ports={ports}", f"--skip-{way}-subnets={subnets}"]
    pod.intercept(f"--backend={backend}", *options)
    lines = nat(pod, backend, family)
    chains = (f"-A {INBOUND} ", f"-A {OUTBOUND} ")
    assert [line for line in lines if line.startswith(chains)] == list(map(str, rules(wanted, family)))
    assert [line for line in lines if line.startswith("-A ") and not line.startswith(chains)] == [
        f"-A PREROUTING -p tcp -j {INBOUND}",
        f"-A OUTPUT -p tcp -j {OUTBOUND}",
    ]


HALVES = {
    "complete": (),
    "changed": (f"-F {INBOUND}", f"-A {OUTBOUND} -p tcp -j {INBOUND}", f"-I {INBOUND} 1 -p tcp -j ACCEPT"),
    "empty chains, no jumps": (
        f"-D PREROUTING -p tcp -j {INBOUND}",
        f"-D OUTPUT -p tcp -j {OUTBOUND}",
        f"-F {INBOUND}",
        f"-F {OUTBOUND}",
    ),
    "one chain only": (f"-D PREROUTING -p tcp -j {INBOUND}", f"-F {INBOUND}", f"-X {INBOUND}"),
    "no jumps": (f"-D PREROUTING -p tcp -j {INBOUND}", f"-D OUTPUT -p tcp -j {OUTBOUND}"),
    "jumps twice": (f"-A PREROUTING -p tcp -j {INBOUND}", f"-A OUTPUT -p tcp -j {OUTBOUND}"),
    "jumps of all kinds": (
        f"-A PREROUTING -j {INBOUND}",
        f'-A PREROUTING -p tcp --dport 5 -m comment --comment "a b" -j {INBOUND}',
        f"-A PREROUTING -p tcp --dport 6 -g {INBOUND}",
    ),
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
@pytest.mark.parametrize("halved", [(4, 6), (6,)], ids=["both", "ipv6"])
def test_run_again_from_any_state_it_ends_in_the_same_rules(
    pod: Pod, backend: str, half: Sequence[str], halved: Sequence[Family]
) -> None:
    restore(pod, backend, *FOREIGN)
    pod.intercept(f"--backend={backend}", "--skip-outbound-ports=25")
    complete = both(pod, backend)
    restore(pod, backend, *half, families=halved)
    pod.intercept("--skip-outbound-ports=25")
    assert both(pod, backend) == complete


def test_rules_of_others_stay_through_it_and_after_its_removal(pod: Pod, backend: str) -> None:
    restore(pod, backend, *FOREIGN)
    before = both(pod, backend)
    pod.intercept(f"--backend={backend}")
    during = both(pod, backend)
    for lines, now in zip(before, during, strict=True):
        added = [line for line in now if line not in lines]
        assert added == ours(added) != []
        assert [line for line in now if line in lines] == lines
    pod.intercept("--remove")
    assert both(pod, backend) == before


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES.keys())
def test_removal_takes_out_all_that_is_ours_from_any_state(pod: Pod, backend: str, half: Sequence[str]) -> None:
    restore(pod, backend)
    before = both(pod, backend)
    pod.intercept(f"--backend={backend}")
    restore(pod, backend, *half)
    pod.intercept("--remove")
    assert both(pod, backend) == before
    assert pod.intercept("--remove") == ""


def test_removal_takes_out_what_is_ours_in_either_backend(pod: Pod, backend: str, other: str) -> None:
    for name in (backend, other):
        restore(pod, name, f":{INBOUND} -", f"-A PREROUTING -p tcp -j {INBOUND}")
    printed = pod.intercept("--dry-run", "--remove")
    names = {f"# {program(family, name, 'restore')}" for family in FAMILIES for name in (backend, other)}
    assert {line.removesuffix(" --noflush") for line in printed.splitlines() if line.startswith("#")} == names
    pod.intercept("--remove")
    assert not any(ours(lines) for name in (backend, other) for lines in both(pod, name))


def test_a_removal_of_one_backend_leaves_the_other(pod: Pod, backend: str, other: str) -> None:
    pod.intercept(f"--backend={backend}")
    complete = both(pod, backend)
    pod.intercept("--remove", f"--backend={other}")
    assert both(pod, backend) == complete


def test_the_last_backend_asked_for_is_the_only_one_with_rules(pod: Pod, backend: str, other: str) -> None:
    pod.intercept(f"--backend={other}")
    pod.intercept(f"--backend={backend}")
    assert all(ours(lines) for lines in both(pod, backend))
    assert not any(ours(lines) for lines in both(pod, other))


def test_auto_takes_the_backend_that_holds_rules(pod: Pod, backend: str, other: str) -> None:
    restore(pod, backend, "-A OUTPUT -p tcp --dport 98 -j ACCEPT", families=(4,))
    pod.intercept()
    assert all(ours(lines) for lines in both(pod, backend))
    assert not any(ours(lines) for lines in both(pod, other))


def test_auto_prefers_its_own_rules_to_those_of_others(pod: Pod, backend: str, other: str) -> None:
    restore(pod, other, "-A OUTPUT -p tcp --dport 98 -j ACCEPT")
    pod.intercept(f"--backend={backend}")
    complete = both(pod, backend)
    pod.intercept()
    assert both(pod, backend) == complete
    assert not any(ours(lines) for lines in both(pod, other))


def test_without_ipv6_only_ipv4_is_touched(pod: Pod, backend: str) -> None:
    pod.intercept(f"--backend={backend}", "--no-ipv6")
    assert ours(nat(pod, backend, 4))
    assert not ours(nat(pod, backend, 6))


@pytest.mark.parametrize("before", ["fresh", "interrupted"])
@pytest.mark.parametrize("mode", ["install", "--remove"])
def test_a_dry_run_changes_nothing_and_prints_what_would_be_restored(
    pod: Pod, backend: str, before: str, mode: str
) -> None:
    options = [f"--backend={backend}"] + ["--remove"] * (mode == "--remove")
    restore(pod, backend, *FOREIGN)
    if before == "interrupted":
        pod.intercept(f"--backend={backend}")
        restore(pod, backend, *HALVES["jumps twice"])
    unchanged = both(pod, backend)
    printed = pod.intercept("--dry-run", *options)
    assert both(pod, backend) == unchanged
    for transaction in printed.split("# ")[1:]:
        command, _, text = transaction.partition("\n")
        pod.namespace.run(command.split(), text=text)
    by_hand = both(pod, backend)
    pod.intercept(*options)
    assert both(pod, backend) == by_hand


@pytest.mark.parametrize("options", [[], ["--remove"]])
def test_without_permission_it_says_which_capabilities_are_needed(pod: Pod, backend: str, options: list[str]) -> None:
    pod.intercept(f"--backend={backend}")
    complete = both(pod, backend)
    done = init_iptables(pod, f"--backend={backend}", *options, uid=APP_UID)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The capabilities NET_ADMIN and NET_RAW are needed; missing here: NET_ADMIN, NET_RAW." in done.stderr
    assert both(pod, backend) == complete


def test_ipv6_that_cannot_be_set_is_a_warning_unless_it_is_asked_for(pod: Pod, backend: str, tmp_path: Path) -> None:
    only_ipv4 = tmp_path / "bin"
    only_ipv4.mkdir()
    for action in ("save", "restore"):
        name = program(4, backend, action)
        (only_ipv4 / name).symlink_to(str(shutil.which(name)))
    done = init_iptables(pod, f"--backend={backend}", path=only_ipv4)
    assert done.returncode == 0
    assert f"Warning: IPv6 is not intercepted: ip6tables-{backend}-save is not installed" in done.stderr
    assert ours(nat(pod, backend, 4))
    done = init_iptables(pod, f"--backend={backend}", "--ipv6", path=only_ipv4)
    assert done.returncode == 1
    assert f"ip6tables-{backend}-save is not installed" in done.stderr
