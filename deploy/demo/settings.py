"""Options of the demo's programs: from the command line, else from the environment, else a default.

Each option `--some-name` is also the variable SOME_NAME, so that the programs start in the same way from a
shell and from a Kubernetes manifest.
"""

from __future__ import annotations

import argparse
import logging
import os


class Options:
    """An argument parser whose defaults come from the environment."""

    def __init__(self, description: str) -> None:
        self._parser = argparse.ArgumentParser(description=description)

    def add(self, name: str, default: str | int | float, what: str) -> None:
        """Declare `--name`, of the type of its default; a bad value ends the program with status 2."""
        variable = name.replace("-", "_").upper()
        # argparse runs a default through `type` when it is a string, and the environment gives strings.
        self._parser.add_argument(
            f"--{name}",
            type=type(default),
            default=os.environ.get(variable, default),
            help=f"{what} (environment: {variable}; default: {default})",
        )

    def add_listening(self, port: int) -> None:
        """Declare `--host` and `--port`."""
        self.add("host", "127.0.0.1", "the address to listen on")
        self.add("port", port, "the port to listen on")

    def parse(self) -> argparse.Namespace:
        """Read the command line, and start logging to stderr."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
        return self._parser.parse_args()
