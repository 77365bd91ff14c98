"""What every test shares: the report of a failed one shows what the processes it used wrote to stderr."""

import signal
from collections.abc import Generator

import pytest

from tests.support.process import Process


def pytest_configure() -> None:
    # A shell without job control starts what runs in its background with Ctrl-C ignored, and all that starts from there
    # would ignore it too: programs under test are to be as on a terminal.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in sorted(Process.open, key=lambda process: process.pid):
            report.sections.append((f"stderr of {process.name}", process.stderr_tail()))
    return report
