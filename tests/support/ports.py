"""Free ports on loopback, and whether something listens there.

Ports come from below the range the kernel gives to outgoing connections, so that no connection takes a
port between the moment it was chosen and the moment its server binds it, or while that server restarts.
"""

import contextlib
import itertools
import os
import socket

FIRST_PORT = 20_000
LAST_PORT = 32_000

# Another start for each test process, so that two runs on one machine seldom try the same port.
_candidates = itertools.cycle(range(FIRST_PORT, LAST_PORT))
for _ in range(os.getpid() * 61 % (LAST_PORT - FIRST_PORT)):
    next(_candidates)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port on `host` that nothing listens on; each is given out once in a run."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_candidates, LAST_PORT - FIRST_PORT):
        # No SO_REUSEADDR: a port with anything left on it, even closing connections, is passed over.
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError(f"no free port on {host} between {FIRST_PORT} and {LAST_PORT}")


def free_address(host: str = "127.0.0.1") -> str:
    """A free "host:port"; an IPv6 host comes back in brackets."""
    return f"[{host}]:{free_port(host)}" if ":" in host else f"{host}:{free_port(host)}"


def split_address(address: str) -> tuple[str, int]:
    """("::1", 4140) of "[::1]:4140"; ("127.0.0.1", 4140) of "127.0.0.1:4140"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def accepts(address: str) -> bool:
    """Whether a TCP connection to "host:port" is accepted now."""
    with contextlib.suppress(OSError), socket.create_connection(split_address(address), timeout=1):
        return True
    return False
