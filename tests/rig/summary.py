"""The end of a run on one screen: a line a stage, a line a failure, and how many passed."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from rig.outcomes import Outcomes

WIDTH = 110
FAILURES = 6
"""Lines of failures at most: with a line a stage they fit on a screen."""


@dataclass(frozen=True)
class Failure:
    stage: str
    test: str
    reason: str


@dataclass(frozen=True)
class Result:
    """How a stage ended. Where it has no tests to count, it is one itself."""

    stage: str
    seconds: float
    passed: int
    failures: tuple[Failure, ...] = ()
    skipped: int = 0
    words: str = ""
    """What else there is to say in its line."""

    @property
    def failed(self) -> int:
        return len(self.failures)


def result(stage: str, seconds: float, outcomes: Outcomes, trouble: str, words: str = "") -> Result:
    """The result of a stage; `trouble` is why it did not end well, if its tests do not tell."""
    failures = [Failure(stage, test, outcomes.reasons[test])
                for test, how in outcomes.results.items() if how == "failed"]
    if trouble:
        failures.append(Failure(stage, outcomes.running or "the stage itself", trouble))
    passed = outcomes.count("passed")
    if not outcomes.collected and not failures:
        passed = 1
    return Result(stage, seconds, passed, tuple(failures), outcomes.count("skipped"), words)


def lines(results: Iterable[Result], log: str) -> list[str]:
    """The summary. The last line is ``N passed, N failed``."""
    results = list(results)
    text = [_shortened(_line(each)) for each in results]
    failures = _grouped(failure for each in results for failure in each.failures)
    for failure in failures[:FAILURES]:     # the fewer, the more there is room to say of each
        text += textwrap.wrap(failure, WIDTH, initial_indent="  ", subsequent_indent="      ",
                              max_lines=max(1, FAILURES // len(failures)), placeholder=" ...")
    if len(failures) > FAILURES:
        text.append(f"  ... and {len(failures) - FAILURES} more, in the log")
    text.append(f"The whole log is in {log}")
    text.append(f"{sum(each.passed for each in results)} passed, "
                f"{sum(each.failed for each in results)} failed")
    return text


def _line(each: Result) -> str:
    counts = f"{each.passed} passed, {each.failed} failed"
    counts += f", {each.skipped} skipped" if each.skipped else ""
    words = f"; {each.words}" if each.words else ""
    mark = "FAILED" if each.failed else "ok    "
    return f"{mark} {each.stage:<24} {each.seconds:7.1f} s   {counts}{words}"


def _grouped(failures: Iterable[Failure]) -> list[str]:
    """A line for each failure; tests of one file that failed for one reason share a line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for failure in failures:
        file, _, name = failure.test.rpartition("::")
        groups.setdefault((failure.stage, file, failure.reason), []).append(name or file)
    return [f"{stage}: {file.rpartition('/')[2]}{'::' if file else ''}{names[0]}"
            + (f" and {len(names) - 1} more" if len(names) > 1 else "") + f": {reason}"
            for (stage, file, reason), names in groups.items()]


def _shortened(line: str) -> str:
    return line if len(line) <= WIDTH else line[:WIDTH - 3] + "..."
