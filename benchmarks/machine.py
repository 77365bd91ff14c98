"""Where figures were made: the machine, its system, and the version of every program."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peers import Peer
from benchmarks.process import HAS_SCHEDSTAT, LOAD_CORE, PROXY_CORE, ROOT

BUSY_LOAD = 1.0
"""Programs that ran on average in the last minute; above this, something else is using the machine."""


def facts() -> dict[str, str | int]:
    """The machine and its system."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_mb": int((_field(Path("/proc/meminfo"), "MemTotal") or "0").split()[0]) // 1000,
        "hypervisor": _field(Path("/proc/cpuinfo"), "hypervisor vendor") or _virtual(),
        "kernel": platform.release(),
        "system": _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"'),
        "proxy_core": PROXY_CORE,
        "load_core": LOAD_CORE,
        "cpu_time_from": "schedstat, nanoseconds" if HAS_SCHEDSTAT else "stat, ticks",
    }


def versions(peers: Iterable[Peer]) -> dict[str, str]:
    """What each program says of itself, by the peer's title, and the parts that the proxy is built from."""
    found = {peer.title: peer.version_text() for peer in peers if peer.version_text()}
    return found | {
        "meshctl's commit": _said("git describe --always --dirty"),
        "h2load": _said("h2load --version"),
        "wrk": _said("sh -c 'wrk --version || true'").partition(" [")[0],
        "libnghttp2": _said("pkg-config --modversion libnghttp2"),
        "Python": platform.python_version(),
        "uvloop": _said(f"{sys.executable} -c 'import uvloop; print(uvloop.__version__)'"),
        "C compiler": _said("cc --version"),
    }


def is_busy() -> bool:
    return os.getloadavg()[0] > BUSY_LOAD


def _field(file: Path, name: str, separator: str = ":") -> str:
    if file.exists():
        for line in file.read_text().splitlines():
            key, found, value = line.partition(separator)
            if found and key.strip() == name:
                return value.strip()
    return ""


def _virtual() -> str:
    flags = _field(Path("/proc/cpuinfo"), "flags").split()
    return "virtual machine" if "hypervisor" in flags else "none"


def _said(command: str) -> str:
    """The first line of the output, or "unknown"."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return next(iter(done.stdout.strip().splitlines()), "unknown")
