"""`python -m proxy --config proxy.yaml`: the sidecar without the command line's other commands.

Parses two options by hand: a sidecar's start imports no more than it needs.
"""

import signal
import sys

USAGE = "usage: python -m proxy --config FILE"


def run(arguments: list[str]) -> int:
    """Returns the process's exit status: 0, or 2 for wrong usage or a wrong configuration."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(arguments) == 1 and arguments[0].startswith("--config="):
        arguments = ["--config", arguments[0].removeprefix("--config=")]
    if len(arguments) != 2 or arguments[0] != "--config":
        print(USAGE, file=sys.stderr)
        return 2
    from proxy.app import main

    return main(arguments[1])


if __name__ == "__main__":
    # As process 1 of a container it loses signals that nobody takes: until all is imported this is who does, or the
    # container would go on until it is killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(run(sys.argv[1:]))
