"""Who changed the private host is named, though it shows only when the next test or module begins.

The host is a fake here; what is looked at on a real one is tested there.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from rig import guard, soundness

SOUND = soundness.State(files={}, ports=frozenset({25, 143}), running=frozenset({"Postfix"}),
                        mounts=frozenset(), processes=frozenset(), queue=frozenset())


class World:
    """A host, pytest, and everything that the guard asks the machine."""

    def __init__(self):
        self.state = SOUND
        self.silent = []
        self.reports = []
        self.made_anew = 0
        self.config = SimpleNamespace(hook=SimpleNamespace(
            pytest_runtest_logreport=lambda report: self.reports.append(report)))

    def make_anew(self, host, state):
        self.state, self.silent = state, []
        self.made_anew += 1

    def left_by(self, host, before, processes_too=True):
        return before.differences(self.state)

    def settle(self):
        pass


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(soundness, "look", lambda host: world.state)
    monkeypatch.setattr(soundness, "left_by", world.left_by)
    monkeypatch.setattr(soundness, "silent", lambda: world.silent)
    monkeypatch.setattr(soundness, "make_anew", world.make_anew)
    return world


@pytest.fixture
def watching(world):
    return guard.Guard(world, world.config)


def item(name):
    return SimpleNamespace(nodeid=f"test_first.py::{name}", location=("test_first.py", 7, name))


def module(watching, *names):
    """A module whose tests leave everything as it was."""
    with watching.module():
        for name in names:
            with watching.test(item(name)):
                pass


BROKEN = [
    (dict(state=replace(SOUND, running=frozenset())), "Postfix does not run any more"),
    (dict(state=replace(SOUND, ports=frozenset({25}))), "port 143: nobody listens any more"),
    (dict(state=replace(SOUND, queue=frozenset({"4X is deferred"}))), "queue: 4X is deferred"),
    (dict(silent=["port 25: nobody greets"]), "port 25: nobody greets"),
]


@pytest.mark.parametrize("change, words", BROKEN, ids=[words for _, words in BROKEN])
def test_what_broke_between_modules_is_the_fault_of_the_last_test(world, watching, change, words):
    module(watching, "test_good", "test_last")
    vars(world).update(change)
    module(watching, "test_of_the_next_module")
    report, = world.reports
    assert (report.nodeid, report.outcome) == ("test_first.py::test_last", "failed")
    assert words in report.longrepr
    assert world.made_anew == 1 and world.state == SOUND


def test_nobody_is_blamed_while_the_host_stays_as_it_is(world, watching):
    module(watching, "test_good")
    module(watching, "test_too")
    assert not world.reports and not world.made_anew


def test_without_a_test_before_the_module_itself_fails(world, watching):
    world.state = replace(SOUND, running=frozenset())
    with pytest.raises(soundness.Unsound, match="Postfix"):
        module(watching)


def test_who_leaves_the_host_changed_fails_and_it_is_made_as_it_was(world, watching):
    with watching.module():
        with pytest.raises(soundness.Unsound, match="somebody still listens"):
            with watching.test(item("test_bad")):
                world.state = replace(SOUND, ports=SOUND.ports | {8080})
        with watching.test(item("test_good")):
            pass
    assert world.made_anew == 1 and not world.reports
