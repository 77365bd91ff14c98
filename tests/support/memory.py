"""What a process holds, from /proc, and by how much an AddressSanitizer build may hold more.

The sanitizer keeps freed memory for a while, puts red zones around each block and has a shadow of both. So a limit on
growth has SANITIZER_BYTES added, which are 0 on a normal build.
"""

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SANITIZER_BYTES = 96 * 2**20 if os.environ.get("MESHCTL_ASAN") == "1" else 0


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def descriptors(pid: int) -> int:
    """How many file descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
