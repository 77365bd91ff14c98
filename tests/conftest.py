"""What every test shares: the report of a failed one shows what the processes it used wrote to stderr.

And the same start for all of them, however the tests themselves were started and whatever the machine is busy with.
"""

import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.process import Process

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("meshctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshctl")

# A shell has what it starts in the background ignore SIGINT, and so would all the children of the tests: to them it is
# what ends them, as on a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in sorted(Process.open, key=lambda process: process.pid):
            report.sections.append((f"stderr of {process.name}", process.stderr_tail()))
    return report
