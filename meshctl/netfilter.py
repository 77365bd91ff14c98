"""Sets and undoes the interception rules in the network namespace it runs in, with iptables' own programs.

Owns which backend (nft or legacy) and which families, and what went wrong in words a pod's owner understands. What
the rules are is `injector.iptables`' business. Programs are started from a list of words, never through a shell,
and get the rules on their stdin.

A kernel holds the rules of both backends side by side, and each program sees only its own. So "auto" takes the one
that holds rules already (ours before others'), else nft, else legacy; and what the other one still has of ours
from an earlier run is taken out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from injector.iptables import BACKENDS, Family, Held, Interception, held, installation, removal

AUTO: Final = "auto"
FAMILIES: Final[tuple[Family, ...]] = (4, 6)
TIMEOUT_S: Final = 30
LOCK_WAIT_S: Final = 10  # for another iptables that runs in this moment
CAPABILITIES: Final = {"NET_ADMIN": 12, "NET_RAW": 13}  # numbers of capabilities(7)

_OWN_NAME: Final = re.compile(r"^ip6?tables[-a-z]* v[0-9.]+ \([a-z_]+\): ")

Say = Callable[[str], None]


class NetfilterError(Exception):
    """The rules could not be read or set; the message says why and what is needed."""


@dataclass(frozen=True, slots=True)
class NatTable:
    """The nat table of one family, as one backend holds it."""

    backend: str
    family: Family

    def program(self, action: str) -> str:
        """The name of its program: `action` is "save" or "restore"."""
        return f"{'ip6tables' if self.family == 6 else 'iptables'}-{self.backend}-{action}"

    def held(self) -> Held:
        """What it holds now. Raises `NetfilterError`."""
        # Without a table's name: naming one makes the legacy backend load it.
        return held(self._run("save"))

    def held_if_readable(self) -> Held:
        """What it holds now; nothing if its program is not there or fails."""
        try:
            return self.held()
        except NetfilterError:
            return Held()

    def restore(self, text: str) -> None:
        """Applies a transaction: all of it, or nothing and `NetfilterError`."""
        self._run("restore", "--noflush", f"--wait={LOCK_WAIT_S}", text=text)

    def _run(self, action: str, *arguments: str, text: str = "") -> str:
        name = self.program(action)
        path = shutil.which(name)
        if path is None:
            raise NetfilterError(f"{name} is not installed, or not on PATH")
        try:
            done = subprocess.run(
                [path, *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NetfilterError(f"{name}: {error}") from error
        if done.returncode != 0:
            raise NetfilterError(f"{name}: {_cause(done.stderr) or f'exit status {done.returncode}'}")
        return done.stdout


def install(interception: Interception, backend: str, ipv6: bool | None, say: Say, warn: Say) -> None:
    """Sets the rules. `ipv6` None: where the kernel has it, and what stands against it is a warning.

    Raises `NetfilterError`; each family is then as it was before or as asked for, never between.
    """
    used = _install_with_one_of(_preferred(backend), interception)
    say(_installed(used, interception))
    for other in BACKENDS:
        if other != used.backend:
            _remove_from(other, ipv6, say)
    if not _wants_ipv6(ipv6, warn):
        return
    try:
        say(_installed(_install(NatTable(used.backend, 6), interception), interception))
    except NetfilterError as error:
        if ipv6:
            raise _explained(str(error)) from error
        warn(f"IPv6 is not intercepted: {error}")


def remove(backend: str, ipv6: bool | None, say: Say) -> None:
    """Undoes what `install` did, in every backend if it is "auto". Raises `NetfilterError`."""
    backends = BACKENDS if backend == AUTO else (backend,)
    # Only what can be read can be undone, so at least one must be readable.
    errors = []
    for name in backends:
        try:
            NatTable(name, 4).held()
        except NetfilterError as error:
            errors.append(str(error))
    if len(errors) == len(backends):
        raise _explained(*errors)
    for name in backends:
        _remove_from(name, ipv6, say)


def show(interception: Interception | None, backend: str, ipv6: bool | None, say: Say, warn: Say) -> None:
    """Says what `install` (or `remove`, if `interception` is None) would give to which program; changes nothing."""
    families = FAMILIES if _wants_ipv6(ipv6, warn) else FAMILIES[:1]
    backends = BACKENDS if interception is None and backend == AUTO else _preferred(backend)[:1]
    for table in (NatTable(name, family) for name in backends for family in families):
        try:
            now = table.held()
        except NetfilterError as error:
            warn(f"shown as if there were no rules yet: {error}")
            now = Held()
        if interception is not None:
            say(f"# {table.program('restore')} --noflush\n{installation(interception, table.family, now)}")
        elif now.own:
            say(f"# {table.program('restore')} --noflush\n{removal(now)}")


def _preferred(backend: str) -> list[str]:
    """The backends to try, the likeliest first."""

    def rank(name: str) -> int:
        now = NatTable(name, 4).held_if_readable()
        return 0 if now.own else 1 if now.rules else 2

    return sorted(BACKENDS, key=rank) if backend == AUTO else [backend]


def _install_with_one_of(backends: list[str], interception: Interception) -> NatTable:
    errors = []
    for backend in backends:
        try:
            return _install(NatTable(backend, 4), interception)
        except NetfilterError as error:
            errors.append(str(error))
    raise _explained(*errors)


def _install(table: NatTable, interception: Interception) -> NatTable:
    table.restore(installation(interception, table.family, table.held()))
    return table


def _remove_from(backend: str, ipv6: bool | None, say: Say) -> None:
    for family in FAMILIES[:1] if ipv6 is False else FAMILIES:
        table = NatTable(backend, family)
        now = table.held_if_readable()
        if now.own:
            try:
                table.restore(removal(now))
            except NetfilterError as error:
                raise _explained(str(error)) from error
            say(f"{table.program('restore')}: removed {', '.join(now.chains)}")


def _wants_ipv6(ipv6: bool | None, warn: Say) -> bool:
    if ipv6 is None and not Path("/proc/net/if_inet6").exists():
        warn("IPv6 is not intercepted: this kernel runs without it")
        return False
    return ipv6 is not False


def _installed(table: NatTable, interception: Interception) -> str:
    return (
        f"{table.program('restore')}: inbound TCP goes to port {interception.inbound_port}, "
        f"outbound TCP to port {interception.outbound_port}"
    )


def _cause(stderr: str) -> str:
    """What a program complained about, on one line, without its name and its advice to read the manual."""
    lines = (_OWN_NAME.sub("", line).strip() for line in stderr.splitlines())
    return "; ".join(line for line in lines if line and not line.startswith(("Try `", "# ")))


def _explained(*errors: str) -> NetfilterError:
    """An error made of `errors`, with what is needed if a lack of permission may be behind them."""
    missing = _missing_capabilities()
    hint = []
    if missing or any("Permission denied" in error or "not permitted" in error for error in errors):
        lacking = f"; missing here: {', '.join(missing)}" if missing else ""
        hint = [f"The capabilities NET_ADMIN and NET_RAW are needed{lacking}."]
    return NetfilterError("\n".join((*errors, *hint)))


def _missing_capabilities() -> list[str]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return [name for name, number in CAPABILITIES.items() if not effective >> number & 1]
    return []
