"""What the process itself holds, from /proc, under the names that Prometheus' client libraries have agreed on.

Figures that cannot be read, as on another system than Linux, are left out.
"""

import os
import resource
from collections.abc import Callable, Iterable
from pathlib import Path

from proxy.admin.family import Family, Kind, Labels

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process_families() -> list[Family]:
    """CPU, memory, start and file descriptors of this process."""
    return [
        _family("process_virtual_memory_bytes", "gauge", "Virtual memory.", lambda: _stat(20)),
        _family("process_resident_memory_bytes", "gauge", "Resident memory.", lambda: _stat(21) * _PAGE_BYTES),
        _family("process_start_time_seconds", "gauge", "When it started, since 1970.", _started_s),
        _family(
            "process_cpu_seconds", "counter", "CPU, user and system.", lambda: (_stat(11) + _stat(12)) / _TICKS_PER_S
        ),
        _family(
            "process_open_fds",
            "gauge",
            "Open file descriptors.",
            lambda: sum(1 for _ in Path("/proc/self/fd").iterdir()),
        ),
        _family("process_max_fds", "gauge", "Limit on them.", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ]


def _family(name: str, kind: Kind, text: str, read: Callable[[], float]) -> Family:
    def rows() -> Iterable[tuple[Labels, float]]:
        try:
            return [((), float(read()))]
        except (OSError, ValueError, IndexError):
            return []

    return Family(name, kind, (), text, rows)


def _stat(number: int) -> int:
    """A field of /proc/self/stat (proc(5)), counted from the one after the program's name, which may hold anything."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[number])


def _started_s() -> float:
    (boot,) = (line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + _stat(19) / _TICKS_PER_S
