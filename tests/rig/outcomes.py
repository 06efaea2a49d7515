"""A plugin, ``pytest -p rig.outcomes``, which reports what became of each test as it ends.

The lines go to the open file whose number is in `FD`, one JSON object each, so that they survive
whatever happens to pytest, and get out of a private host, which shares no files.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

FD = "TEST_OUTCOMES_FD"


@dataclass
class Outcomes:
    """What is known of one run of pytest, which may be under way or have died."""

    collected: int = 0
    results: dict[str, str] = field(default_factory=dict)
    """By test: "passed", "skipped" or "failed". A test fails once, however often it does."""
    reasons: dict[str, str] = field(default_factory=dict)
    """By failed test: the first reason, in one line."""
    running: str = ""
    """The test that has begun and not ended."""
    ended: bool = False

    def count(self, result: str) -> int:
        return sum(each == result for each in self.results.values())


def read(lines: Iterable[str]) -> Outcomes:
    """What the lines tell; a last one that was cut off is left out."""
    outcomes = Outcomes()
    for line in lines:
        if not line.endswith("\n"):
            break
        record = json.loads(line)
        test = record.get("test", "")
        match record["is"]:
            case "collected":
                outcomes.collected = record["tests"]
            case "begun":
                outcomes.running = test
            case "ended":
                outcomes.running = ""
            case "over":
                outcomes.ended = True
            case "failed":
                outcomes.results[test] = "failed"
                outcomes.reasons.setdefault(test, record["reason"])
            case "skipped":
                outcomes.results.setdefault(test, "skipped")
            case "passed":
                outcomes.results.setdefault(test, "passed")
    return outcomes


def reason(report: Any) -> str:
    """Why it failed, in one line: of an exception its kind and what it says first."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason told"
    return f"at {report.when}: {first}" if report.when in ("setup", "teardown") else first


def _tell(**record: object) -> None:
    if number := os.environ.get(FD):
        os.write(int(number), (json.dumps(record) + "\n").encode())


def pytest_collection_finish(session: pytest.Session) -> None:
    _tell(**{"is": "collected", "tests": len(session.items)})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        line = str(report.longrepr).strip().splitlines()[-1]
        _tell(**{"is": "failed", "test": report.nodeid, "reason": f"cannot be loaded: {line}"})


def pytest_runtest_logstart(nodeid: str) -> None:
    _tell(**{"is": "begun", "test": nodeid})


def pytest_runtest_logfinish(nodeid: str) -> None:
    _tell(**{"is": "ended", "test": nodeid})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _tell(**{"is": "failed", "test": report.nodeid, "reason": reason(report)})
    elif report.skipped or report.when == "call":
        _tell(**{"is": report.outcome, "test": report.nodeid})


def pytest_sessionfinish() -> None:
    _tell(**{"is": "over"})
