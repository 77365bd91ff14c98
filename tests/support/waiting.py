"""Waiting for something to become true, in bounded time and without a fixed sleep."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 30.0  # for what is quick by itself, on a machine that may stand still for seconds


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S, interval_s: float = 0.01) -> T:
    """Polls `condition` until it is truthy and returns its value.

    AssertionError, which names `what`, when that takes more than `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(interval_s)


@contextlib.contextmanager
def unless_later_than(end_s: float, *errors: type[BaseException]) -> Iterator[None]:
    """Takes these errors for what they are after `end_s` (time.monotonic): a machine that stood still until then.

    Before it they are raised.
    """
    try:
        yield
    except errors:
        if time.monotonic() < end_s:
            raise
