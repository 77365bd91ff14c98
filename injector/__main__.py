"""`python -m injector --config controller.yaml`: the controller. `--check` only says whether the file is right."""

from __future__ import annotations

import signal
import sys

USAGE = "usage: python -m injector --config FILE | --check FILE"
EXIT_FAILED, EXIT_WRONG = 1, 2


def run(arguments: list[str]) -> int:
    """Returns the process's exit status: 0, 1 (failed start or a fault), or 2 (wrong usage or configuration)."""
    match [word for argument in arguments for word in argument.split("=", 1)]:
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
        case ["--config" | "--check" as option, path]:
            pass
        case _:
            print(USAGE, file=sys.stderr)
            return EXIT_WRONG
    from injector.config import load
    from proxy.config import ConfigError

    try:
        config = load(path)
    except ConfigError as error:
        for line in error.errors:
            print(f"{path}: {line}", file=sys.stderr)
        return EXIT_WRONG
    if option == "--check":
        print(f"{path}: ok")
        return 0
    try:
        # Imported here: a file can be checked where what the controller needs is not installed.
        from injector.app import main
    except ModuleNotFoundError as error:
        print(f"meshctl: {error}; the controller needs meshctl-proxy[controller]", file=sys.stderr)
        return EXIT_FAILED
    return main(config)


if __name__ == "__main__":
    # As process 1 of a container it loses signals that nobody takes: until all is imported this is who does, or the
    # container would go on until it is killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(run(sys.argv[1:]))
