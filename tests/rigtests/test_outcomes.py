"""What the plugin tells of a run of pytest, whatever becomes of it."""

import os
import subprocess
import sys
from pathlib import Path

from rig import outcomes

TESTS = '''
import os, pytest

@pytest.fixture
def broken():
    raise OSError("no\\nreason")

@pytest.fixture
def leaves_a_mess():
    yield
    assert not "mess"

def test_good(): pass
def test_bad(): assert 1 == 2
def test_skipped(): pytest.skip("not here")
def test_without_its_fixture(broken): pass
def test_messy(leaves_a_mess): pass
def test_bad_and_messy(leaves_a_mess): raise ValueError("first")
'''


def run(directory: Path, text: str) -> tuple[int, outcomes.Outcomes]:
    """Pytest's exit code, and what the plugin told."""
    (directory / "test_example.py").write_text(text)
    with open(directory / "told", "w+") as told:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "rig.outcomes", "-p", "no:cacheprovider",
             "test_example.py"], cwd=directory, pass_fds=[told.fileno()], stdout=subprocess.DEVNULL,
            env=os.environ | {outcomes.FD: str(told.fileno()),
                              "PYTHONPATH": str(Path(outcomes.__file__).parents[1])})
        told.seek(0)
        return done.returncode, outcomes.read(told)


def test_each_test_counts_once_with_its_first_reason(tmp_path):
    _, told = run(tmp_path, TESTS)
    assert told.collected == 6 and told.ended and not told.running
    assert (told.count("passed"), told.count("failed"), told.count("skipped")) == (1, 4, 1)
    reasons = {name.partition("::")[2]: reason for name, reason in told.reasons.items()}
    assert reasons == {
        "test_bad": "assert 1 == 2", "test_bad_and_messy": "ValueError: first",
        "test_without_its_fixture": "at setup: OSError: no",
        "test_messy": "at teardown: AssertionError: assert not 'mess'"}


def test_who_dies_was_running(tmp_path):
    code, told = run(tmp_path, "import os\ndef test_good(): pass\ndef test_dead(): os._exit(9)\n")
    assert code == 9 and not told.ended
    assert told.running == "test_example.py::test_dead" and told.count("passed") == 1


def test_a_file_that_cannot_be_loaded_is_a_failure(tmp_path):
    _, told = run(tmp_path, "import nothing_of_this_name\n")
    (reason,) = told.reasons.values()
    assert "nothing_of_this_name" in reason


def test_a_line_that_was_cut_off_is_left_out():
    told = outcomes.read(['{"is": "begun", "test": "a"}\n', '{"is": "pas'])
    assert told.running == "a" and not told.results
