"""Where CI=true, a test that is skipped fails: there is everything that a test may need."""

import os
from collections.abc import Generator
from typing import Any

import pytest

FINE = ("no IPv6",)
"""Reasons that have to do with the machine below, to which nothing can be added."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    outcome = yield
    _judge(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    outcome = yield
    _judge(outcome.get_result())


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("CI") != "true":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ") not in FINE:
        report.outcome = "failed"
        report.longrepr = f"skipped, which no test may be where CI=true: {reason}"
