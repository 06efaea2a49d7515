"""Imports that save memory."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatmaild import slimimport

NAME = "chatmaild_test_postponed"


@pytest.fixture
def loads(tmp_path, monkeypatch):
    """How often the module NAME was loaded: an entry in the list for each time."""
    loads = []
    (tmp_path / f"{NAME}.py").write_text(
        "import sys, time\nsys.chatmaild_test_loads.append(1)\ntime.sleep(0.05)\nanswer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "chatmaild_test_loads", loads, raising=False)
    yield loads
    sys.modules.pop(NAME, None)


def imported():
    return __import__(NAME)


def test_a_postponed_module_is_loaded_when_a_name_in_it_is_used(loads):
    slimimport.postpone(NAME)
    module = imported()
    assert not loads
    assert module.answer == 42
    assert module.answer == imported().answer and loads == [1]
    with pytest.raises(AttributeError, match="question"):
        module.question


def test_what_is_known_of_a_postponed_module_does_not_load_it(loads):
    slimimport.postpone(NAME, question=len)
    module = imported()
    assert module.question is len and not loads
    assert module.answer == 42 and loads == [1]
    with pytest.raises(AttributeError, match="question"):
        imported().question


def test_threads_that_use_it_at_once_load_it_once(loads):
    slimimport.postpone(NAME)
    module = imported()
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(lambda: module.answer) for _ in range(8)]
    assert {answer.result() for answer in answers} == {42} and loads == [1]


def test_a_module_that_is_loaded_already_stays(loads):
    module = imported()
    slimimport.postpone(NAME)
    assert imported() is module


def test_a_failed_load_is_tried_again(loads, tmp_path):
    slimimport.postpone(NAME)
    module = imported()
    source = (tmp_path / f"{NAME}.py").read_text()
    (tmp_path / f"{NAME}.py").write_text("raise OSError('too many open files')\n")
    with pytest.raises(OSError):
        module.answer
    (tmp_path / f"{NAME}.py").write_text(source)
    assert module.answer == 42
