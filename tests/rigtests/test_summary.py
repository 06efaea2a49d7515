"""The summary fits on a screen, names each failure once, and ends with the two numbers."""

from rig.everything import STAGES
from rig.outcomes import Outcomes
from rig.summary import FAILURES, WIDTH, Failure, Result, lines, result


def test_the_last_line_is_the_numbers_alone():
    text = lines([Result("style", 1.0, 1), Result("unit", 20.0, 300, skipped=2)], "build/log")
    assert text[0].startswith("ok     style")
    assert text[1].endswith("300 passed, 0 failed, 2 skipped")
    assert text[-2:] == ["The whole log is in build/log", "301 passed, 0 failed"]


def test_a_failure_has_a_line_with_its_name_and_reason():
    failure = Failure("unit", "tests/dkim/test_crypto.py::test_rsa[1024]", "assert 1 == 2")
    text = lines([Result("unit", 20.0, 299, (failure,))], "log")
    assert text[0].startswith("FAILED unit") and text[-1] == "299 passed, 1 failed"
    assert text[1] == "  unit: test_crypto.py::test_rsa[1024]: assert 1 == 2"


def test_those_who_share_a_reason_share_a_line():
    failures = tuple(Failure("container", f"t.py::test_{n}", "at setup: no boot") for n in range(9))
    text = lines([Result("container", 20.0, 3, failures)], "log")
    assert text[1] == "  container: t.py::test_0 and 8 more: at setup: no boot"
    assert len(text) == 4 and text[-1] == "3 passed, 9 failed"


def test_it_fits_on_a_screen_however_much_fails():
    failures = tuple(Failure("unit", f"t.py::test_{n}", f"{n} " + "x" * 500) for n in range(500))
    text = lines([Result(stage.name, 1.0, 5, failures) for stage in STAGES], "log")
    assert len(text) < 24
    assert all(len(line) <= WIDTH for line in text) and f"and {500 - FAILURES} more" in text[-3]
    assert text[-1] == f"{5 * len(STAGES)} passed, {500 * len(STAGES)} failed"


def test_a_stage_without_tests_is_one():
    assert result("style", 1.0, Outcomes(), "").passed == 1
    failed = result("style", 1.0, Outcomes(), "exit code 1: E501")
    assert (failed.passed, failed.failed) == (0, 1)
    assert lines([failed], "log")[1] == "  style: the stage itself: exit code 1: E501"


def test_a_stage_that_had_to_be_ended_names_what_was_running():
    told = Outcomes(collected=9, results={"t.py::test_a": "passed"}, running="t.py::test_b")
    ended = result("unit", 1.0, told, "ended after 5 s")
    assert ended.passed == 1 and ended.failures == (
        Failure("unit", "t.py::test_b", "ended after 5 s"),)
