"""The event loops on which the admin server is tested."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from tests.unit.admin.stage import Run


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on the event loop that the proxy uses, and on the one without surprises."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run
