"""Makes a file system for one process, and becomes that process: `python root.py SPEC`, SPEC being JSON.

    root       an empty directory, where the new root is mounted (a tmpfs)
    keep       directories of the machine that must be there: the interpreter's, the tree under test
    links      path in the new root -> path of the machine
    binds      [path of the machine, path in the new root, whether it is read-only]
    read_only  whether the new root itself cannot be written, either
    directory  where the command starts
    command    what it becomes, looked up in PATH

Everything of the machine is there under its own name and cannot be written, but /tmp and /run are empty, and /etc, /opt
and /var are directories of links that `links` and `binds` may override. It runs in a mount namespace of its own (`ip
netns exec` makes one), so all of this ends with the process. Only the standard library: it is the start of every
container.
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384  # sys/mount.h
OWN = ("etc", "opt", "var")  # directories of links
EMPTY = ("tmp", "run")
KERNELS = ("dev", "proc", "sys")
MACHINE = ".machine"  # where the machine's own OWN directories are

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    spec = json.loads(sys.argv[1])
    root = Path(spec["root"])
    mount("tmpfs", root, "tmpfs")
    for entry in Path("/").iterdir():
        if entry.name not in (*OWN, *EMPTY):
            take(entry, root / entry.name)
    for name in EMPTY:
        (root / name).mkdir()
        (root / name).chmod(0o1777)
    for name in OWN:
        link_entries(root, name)
    for path in spec["keep"]:
        if not inside(root, path).exists():
            bind(Path(path), fresh(root, path), read_only=True)
    for path, target in spec["links"].items():
        fresh(root, path).symlink_to(target)
    for source, path, read_only in spec["binds"]:
        bind(Path(source), fresh(root, path), read_only=read_only)
    if spec["read_only"]:
        mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(root)
    os.chdir(spec["directory"])
    os.execvp(spec["command"][0], spec["command"])


def take(entry: Path, place: Path) -> None:
    """Has an entry of the machine's root in the new one."""
    if entry.is_symlink():
        place.symlink_to(entry.readlink())
    elif entry.is_dir():
        bind(entry, place, read_only=entry.name not in KERNELS)


def link_entries(root: Path, name: str) -> None:
    """A directory that can be written, full of links to what the machine has there."""
    hidden = root / MACHINE / name
    bind(Path("/", name), hidden, read_only=True)
    (root / name).mkdir()
    for entry in hidden.iterdir():
        place = root / name / entry.name
        if name == "var" and entry.name == "run":
            place.symlink_to("../run")
        elif entry.is_symlink():
            place.symlink_to(entry.readlink())
        else:
            place.symlink_to(f"/{MACHINE}/{name}/{entry.name}")


def inside(root: Path, path: str) -> Path:
    """Where an absolute path of the new root is now."""
    return root / path.lstrip("/")


def fresh(root: Path, path: str) -> Path:
    """A place in the new root that is free: its directories are there, and no link of ours is in the way."""
    place = inside(root, path)
    for each in (*reversed(place.relative_to(root).parents), place.relative_to(root)):
        if (root / each).is_symlink() and MACHINE in str((root / each).readlink()):
            (root / each).unlink()
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path} leads out of the new root")
    return place


def bind(source: Path, place: Path, *, read_only: bool = False) -> None:
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    mount(source, place, None, MS_BIND | MS_REC)
    if read_only:
        mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def mount(source: Any, target: Path, kind: str | None, flags: int = 0) -> None:
    words = [None if each is None else os.fsencode(each) for each in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} at {target}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
