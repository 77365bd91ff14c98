"""`meshctl await` and `meshctl shutdown`: what starts after the sidecar and ends before it asks its admin port.

Both speak plain HTTP/1.1 to `/ready` and `/shutdown` (docs/lifecycle.md); the proxy itself is not imported. What these
paths mean is the admin server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any

import click

from meshctl.options import fail
from meshctl.parameters import Seconds

EVERY_ADDRESS = ("0.0.0.0", "::")
LOOPBACK = "127.0.0.1"  # which a pod always has, whatever its other addresses are

EVERY_S = 0.1
ANSWER_S = 2.0  # how long one answer may take
EXIT_FAILED = 1
NO_ANSWER = "no answer"
ADDRESS_HINT = "does the sidecar run, and is this its admin address? --address or MESHCTL_ADMIN_ADDRESS say another"

AWAIT_EXIT_CODES = """\b
Exit codes:
  0  the sidecar is ready
  1  it was not in time; the last reason is on stderr
  2  wrong usage
"""

SHUTDOWN_EXIT_CODES = """\b
Exit codes:
  0  the sidecar drains, or with --wait: it is gone
  1  it did not answer, or was not gone in time
  2  wrong usage
"""


class AddressType(click.ParamType[tuple[str, int]]):
    """ "host:port", an IPv6 host in brackets. Who listens on every address is asked at one."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not bare or (":" in bare) != (bare != host) or not port.isascii() or not port.isdigit():
            self.fail(f"{value!r} is not host:port", param, ctx)
        if not 0 < int(port) < 65536:
            self.fail(f"{port} is not a port", param, ctx)
        return LOOPBACK if bare in EVERY_ADDRESS else bare, int(port)


ADDRESS = click.option(
    "--address",
    type=AddressType(),
    default="127.0.0.1:4191",
    envvar="MESHCTL_ADMIN_ADDRESS",
    show_default=True,
    show_envvar=True,
    help="The sidecar's admin address.",
)
TIMEOUT = click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(min=0),
    default=120.0,
    show_default=True,
    help="How long to wait, in seconds.",
)


@click.command("await", epilog=AWAIT_EXIT_CODES)
@ADDRESS
@TIMEOUT
def await_ready(address: tuple[str, int], timeout_s: float) -> None:
    """Wait until the sidecar is ready.

    For a container's postStart hook, or before an application's start: calls made from then on find the proxy.
    """

    def why_not() -> str | None:
        try:
            status, text = ask(address, "GET", "/ready")
        except (OSError, HTTPException) as error:
            return no_answer(error)
        return None if status == 200 else text

    wait(why_not, timeout_s, "not ready")


@click.command(epilog=SHUTDOWN_EXIT_CODES)
@ADDRESS
@click.option("--wait", "waits", is_flag=True, help="Return when the sidecar is gone.")
@TIMEOUT
def shutdown(address: tuple[str, int], waits: bool, timeout_s: float) -> None:
    """Have the sidecar drain and exit, as SIGTERM does.

    For a job, whose pod is complete only when its sidecar has ended as well.
    """
    try:
        status, text = ask(address, "POST", "/shutdown")
    except (OSError, HTTPException) as error:
        fail(no_answer(error), ADDRESS_HINT, EXIT_FAILED)
    if status != 200:
        fail(f"it does not drain: {text}", code=EXIT_FAILED)
    if waits:
        wait(lambda: still_there(address), timeout_s, "not gone")


def still_there(address: tuple[str, int]) -> str | None:
    try:
        return ask(address, "GET", "/ready")[1]
    except ConnectionRefusedError:
        return None
    except (OSError, HTTPException) as error:  # cut while it ends
        return str(error)


def ask(address: tuple[str, int], method: str, path: str) -> tuple[int, str]:
    """(HTTP status, text) of one request. Raises OSError or HTTPException."""
    with closing(HTTPConnection(*address, timeout=ANSWER_S)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(1000).decode(errors="replace").strip()


def wait(why_not: Callable[[], str | None], timeout_s: float, what: str) -> None:
    """Ask every 100 ms until there is no reason any more; exits with 1 and the last one when it takes too long."""
    deadline_s = time.monotonic() + timeout_s
    while (reason := why_not()) is not None:
        if time.monotonic() + EVERY_S > deadline_s:
            hint = ADDRESS_HINT if reason.startswith(NO_ANSWER) else ""
            fail(f"{what} within {timeout_s:g} s: {reason}", hint, EXIT_FAILED)
        time.sleep(EVERY_S)


def no_answer(error: OSError | HTTPException) -> str:
    return f"{NO_ANSWER}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
