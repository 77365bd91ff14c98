"""What every test shares: the report of a failed one shows what the processes it used wrote to stderr."""

from collections.abc import Generator

import pytest

from tests.support.process import Process


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in sorted(Process.open, key=lambda process: process.pid):
            report.sections.append((f"stderr of {process.name}", process.stderr_tail()))
    return report
