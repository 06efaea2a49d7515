"""Stages: which may run side by side, and how one ends."""

import sys
from pathlib import Path

import pytest
from rig import processes
from rig.everything import STAGES, with_what_they_need
from rig.stage import Run, Stage, ready
from rig.until import until

TREE = Path(__file__).parents[2]
A, B = Stage("a", (), 1), Stage("b", (), 1)
HALF = Stage("half", (), 1, cores=0.5)
LATER = Stage("later", (), 1, after=("a",))
LARGE = Stage("large", (), 1, cores=8)


@pytest.mark.parametrize("waiting, running, pending, expected", [
    ([A, B], [], {"a", "b"}, A),
    ([B], [A], {"a", "b"}, B),
    ([B], [A, HALF], {"a", "b", "half"}, None),
    ([B, HALF], [A, HALF], {"a", "b", "half"}, HALF),
    ([LATER, B], [A], {"a", "later", "b"}, B),
    ([LATER], [], {"later"}, LATER),
    ([LARGE], [HALF], {"large", "half"}, None),
    ([LARGE], [], {"large"}, LARGE),
    ([], [A], {"a"}, None),
])
def test_who_starts_next_on_two_cpus(waiting, running, pending, expected):
    assert ready(waiting, running, pending, 2) is expected


def test_every_stage_comes_after_stages_that_there_are():
    names = [stage.name for stage in STAGES]
    assert len(names) == len(set(names))
    for stage in STAGES:
        assert set(stage.after) < set(names)


def test_some_stages_bring_along_what_they_need():
    names = [stage.name for stage in with_what_they_need("integration")]
    assert names == ["the real client", "Debian releases", "integration on bookworm 1/2",
                     "integration on trixie 1/2", "integration on bookworm 2/2",
                     "integration on trixie 2/2"]


def finished(code: str, budget: float = 60) -> Run:
    run = Run(Stage("example", (sys.executable, "-c", code), budget), TREE)
    run.wait()
    return run


def test_a_command_that_succeeds():
    run = finished("print('all is well')")
    result = run.result()
    assert (result.passed, result.failed, result.words) == (1, 0, "all is well")
    assert run.text() == "all is well"


def test_a_command_that_fails_is_told_by_its_last_line():
    result = finished("import sys; print('first'); sys.exit('no such thing')").result()
    assert result.failures[0].reason == "exit code 1: no such thing"


def test_who_takes_too_long_is_ended_with_all_it_started():
    run = finished("import subprocess\nfor n in range(99): print(n, flush=True)\n"
                   "subprocess.run(['sleep', '600'])", budget=5)
    result = run.result()
    assert run.overrun and result.failures[0].reason.startswith("ended after")
    assert run.tail().splitlines() == [str(n) for n in range(49, 99)]


def test_stopping_ends_the_children_too(tmp_path):
    pid = tmp_path / "pid"
    run = Run(Stage("example", ("sh", "-c", f"sleep 600 & echo $! >{pid}; wait"), 60), TREE)
    child = int(until(lambda: pid.exists() and pid.read_text().strip(), "the child to start"))
    run.stop()
    until(lambda: processes.look(child) is None, "the child to be gone")
