"""What holds for all tests: interrupts work, and in CI a skip is a failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

from pfedfrz_edge.runtimes.training_build import FoundBuild


def pytest_configure() -> None:
    # A shell starts what it puts into the background with interrupts ignored, and every process
    # of the tests would inherit that: Ctrl-C is something that they test.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("training_build") and not FoundBuild.here().trains:
        pytest.skip("needs onnxruntime's training build: scripts/test-training-build")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("PFEDFRZ_FORBID_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped where skipping is forbidden: {report.longrepr}"
        )
    return report
