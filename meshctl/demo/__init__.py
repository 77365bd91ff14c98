"""`meshctl demo`: the problem that gRPC has on Kubernetes, and the cure, on real traffic in about a minute.

Runs the application of deploy/demo/ on loopback and shows a live table. Imports what it needs only when it
runs, so that the other commands do without it.
"""

from __future__ import annotations

import importlib.util
import sys

_NEEDED = ("grpc", "google.protobuf", "rich", "yaml")


def run(keep: bool) -> int:
    """Run the demo; with `keep`, leave it running afterwards until Ctrl-C or SIGTERM.

    Returns the exit status: 0 when all it shows held, 1 when something did not or could not run, 130 when it
    was interrupted before it had shown everything.
    """
    if missing := [name for name in _NEEDED if not _is_installed(name)]:
        print(f"meshctl demo needs {', '.join(missing)}: pip install -e '.[demo]'", file=sys.stderr)
        return 1
    from meshctl.demo.phases import Schedule
    from meshctl.demo.runner import CHECKOUT, run_demo

    return run_demo(keep, Schedule(), CHECKOUT)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent package
        return False
