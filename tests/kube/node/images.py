"""What runs as which image: the programs of this tree, as the Dockerfile's stages have them."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.process import ROOT

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Image:
    """`links` are its files: path in the container -> path of the machine."""

    entrypoint: tuple[str, ...]
    uid: int
    directory: str = "/"
    links: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


def _environment(prefix: str) -> dict[str, str]:
    """A virtual environment as the image has it: this one, under another name."""
    return {f"{prefix}/{name}": str(Path(sys.prefix, name)) for name in ("bin", "lib", "pyvenv.cfg")}


IMAGES: Mapping[str, Image] = {
    "meshctl": Image(
        ("meshctl",),
        2102,
        links={**_environment("/opt/meshctl"), "/etc/meshctl/sidecar.yaml": str(ROOT / "deploy" / "sidecar.yaml")},
        env={"PATH": f"/opt/meshctl/bin:{SYSTEM_PATH}", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    ),
    "meshctl-demo": Image(
        ("/opt/demo/bin/python",),
        65532,
        directory="/opt/demo/app",
        links={**_environment("/opt/demo"), "/opt/demo/app": str(ROOT / "deploy" / "demo")},
        env={"PATH": SYSTEM_PATH, "PYTHONUNBUFFERED": "1"},
    ),
}


def image(name: str) -> Image | None:
    """The image called "registry/path/NAME:tag"; None if there is none."""
    return IMAGES.get(name.rpartition("/")[2].partition("@")[0].partition(":")[0])
