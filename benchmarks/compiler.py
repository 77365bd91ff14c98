"""Compiles the benchmarks' own C programs at first use, into `bin/`."""

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
BIN = BENCHMARKS / "bin"
PROGRAMS = BENCHMARKS / "programs"
_COMPILER = ("cc", "-std=c11", "-O2", "-Wall", "-Wextra")


def compiled(name: str, units: Iterable[Path], library: str = "") -> Path:
    """The path of the binary, built anew when a unit, or a header beside one, is younger. Needs cc.

    `library` is one that pkg-config knows. Raises subprocess.CalledProcessError.
    """
    units, binary = list(units), BIN / name
    headers = [header for folder in {unit.parent for unit in units} for header in folder.glob("*.h")]
    youngest = max(source.stat().st_mtime for source in [*units, *headers])
    if binary.exists() and binary.stat().st_mtime >= youngest:
        return binary
    BIN.mkdir(exist_ok=True)
    # Written beside and moved, so that a second benchmark never runs half a file.
    unfinished = binary.with_suffix(".new")
    flags, libraries = (_pkg_config("--cflags", library), _pkg_config("--libs", library)) if library else ([], [])
    subprocess.run([*_COMPILER, *flags, *map(str, units), "-o", str(unfinished), *libraries], check=True)
    return unfinished.replace(binary)


def program(name: str, *others: str) -> Path:
    """A binary of `programs/`: its own unit, what all share, and the `others` it needs."""
    return compiled(name, [PROGRAMS / f"{unit}.c" for unit in (name, "base", *others)])


def _pkg_config(what: str, library: str) -> list[str]:
    done = subprocess.run(["pkg-config", what, library], check=True, capture_output=True, text=True)
    return shlex.split(done.stdout)
