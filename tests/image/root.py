"""Builds stages of the Dockerfile without Docker: each is a directory laid over its base with overlayfs.

A step runs in a mount and a process namespace of its own, so that nothing stays mounted, also after a failure. What a
stage adds to its base is in its directory, and nothing else is: its size is the image's beyond the base.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.dockerfile import Dockerfile, Instruction

BASE_PACKAGES = ("ca-certificates", "python3", "python3-dev", "python3-venv")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STEP_TIMEOUT_S = 900
ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$MERGED"
mount -t proc proc "$MERGED/proc"
exec chroot $AS "$MERGED" /bin/sh -c 'cd "$0" && exec "$@"' "$0" "$@"
"""


def debootstrap(base: Path) -> None:
    """What BASE is to the Dockerfile: a small Debian 12 with Python, its headers and pip, and a way to the network."""
    arguments = ["--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", "bookworm", str(base), _mirror()]
    subprocess.run(["debootstrap", *arguments], check=True, stdout=subprocess.DEVNULL, timeout=STEP_TIMEOUT_S)
    for path in (Path("/etc/resolv.conf"), Path("/etc/hosts"), CERTIFICATES):
        shutil.copyfile(path, base / path.relative_to("/"))


def _mirror() -> str:
    """Where this machine has its own Debian from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]


@dataclass
class Root:
    """One stage: what it is laid over, the highest layer first, and what it adds itself."""

    directory: Path
    lower: Sequence[Path]
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BUILD_PATH})
    folder: str = "/"
    user: str = "0:0"

    def __post_init__(self) -> None:
        for name in ("upper", "work", "merged"):
            (self.directory / name).mkdir(parents=True)

    @property
    def upper(self) -> Path:
        return self.directory / "upper"

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command in the stage, as its user and in its folder."""
        mounts = {
            "LOWER": ":".join(map(str, self.lower)),
            "UPPER": str(self.upper),
            "WORK": str(self.directory / "work"),
            "MERGED": str(self.directory / "merged"),
            "AS": f"--userspec={self.user}",
        }
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, self.folder, *command]
        environment = {**self.environment, **(env or {}), **mounts}
        return subprocess.run(enter, env=environment, capture_output=True, text=True, timeout=STEP_TIMEOUT_S)

    def bytes_added(self) -> int:
        """What its files take on disk."""
        du = ["du", "--summarize", "--block-size=1", str(self.upper)]
        return int(subprocess.run(du, check=True, capture_output=True, text=True).stdout.split()[0])


class Builder:
    """Builds stages in `directory`, each once."""

    def __init__(self, dockerfile: Dockerfile, source: Path, base: Path, directory: Path) -> None:
        self._dockerfile = dockerfile
        self._source = source
        self._base = base
        self._directory = directory
        self._built: dict[str, Root] = {}

    def build(self, name: str) -> Root:
        """Raises AssertionError with what a step wrote, if it failed."""
        if name in self._built:
            return self._built[name]
        stage = self._dockerfile.stages[name]
        under = self.build(stage.base) if stage.base in self._dockerfile.stages else None
        lower = [under.upper, *under.lower] if under else [self._base]
        root = Root(self._directory / name, lower)
        if under:
            root.environment, root.folder = dict(under.environment), under.folder
        for instruction in stage.instructions:
            self._step(root, instruction)
        self._built[name] = root
        return root

    def _step(self, root: Root, instruction: Instruction) -> None:
        match instruction.name:
            case "RUN":
                outside = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
                outside |= {"PIP_CERT": str(CERTIFICATES), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
                done = root.run(["/bin/sh", "-c", instruction.text], env=outside)
                assert done.returncode == 0, f"line {instruction.line}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            case "COPY":
                self._copy(root, instruction)
            case "WORKDIR":
                root.folder = instruction.text
                (root.upper / root.folder.strip("/")).mkdir(parents=True, exist_ok=True)
            case "ENV":
                root.environment |= instruction.pairs()
            case "USER":
                root.user = instruction.text

    def _copy(self, root: Root, instruction: Instruction) -> None:
        origin, sources, destination = instruction.copied()
        top = self.build(origin).upper if origin else self._source
        found = [path for source in sources for path in sorted(top.glob(source.strip("/")))]
        target = root.upper / str(Path(root.folder) / destination).strip("/")
        (target if destination.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        for path in found:
            into = target / path.name if destination.endswith("/") else target
            if path.is_dir():
                shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(path, into)
