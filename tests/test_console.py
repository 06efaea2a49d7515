"""What people read at a terminal."""

import sys

import pytest

from chatmaild import console
from chatmaild.console import Console, Progress, counted, duration, octets, printable


@pytest.mark.parametrize("seconds, text", [
    (0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7320, "2 h 2 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("count, text", [
    (0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (1_500_000, "1.43 MiB"), (5 << 40, "5.0 TiB")])
def test_octets(count, text):
    assert octets(count) == text


def test_printable_has_one_line():
    assert printable("Grüße/1700000000.M1:2,S") == "Grüße/1700000000.M1:2,S"
    assert printable("a\nb\x1b\udcff") == r"a\nb\x1b\udcff"


@pytest.mark.parametrize("values", [[], ["a\nb"], [{"b": [1, 2], "a": {}}, {"c": None}, "d"]])
def test_results_that_come_one_by_one_are_the_same_document(capsys, values):
    Console(as_json=True).result(values)
    whole = capsys.readouterr().out
    Console(as_json=True).results(iter(values))
    assert capsys.readouterr().out == whole
    Console().results(iter(values))
    assert capsys.readouterr().out == ""


def test_a_long_table_is_aligned_in_parts(capsys, monkeypatch):
    monkeypatch.setattr(console, "ALIGNED", 2)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    Console().table(("A", "B"), iter([("1", "2"), ("333", "4"), ("5", "66")]), right="lr")
    assert capsys.readouterr().out.splitlines() == ["A  B", "1  2", "333   4", "5    66"]


@pytest.fixture
def drawn(capsys, monkeypatch):
    """What was written to a stderr that is a terminal."""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    return lambda: capsys.readouterr().err


def test_progress_shows_rate_and_remaining_time(drawn, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = Console().progress(lambda: 400, "mailboxes")
    for _ in range(100):
        clock[0] += 0.5
        progress.step()
    last = drawn().rpartition("\r")[2]
    assert last == "[" + "#" * 7 + "." * 23 + "] 100 of 400 mailboxes, 2/s, 2 min 30 s left\x1b[K"
    progress.close()
    assert drawn() == "\r\x1b[K"


def test_progress_is_drawn_ten_times_a_second_at_most(drawn, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = Console().progress(lambda: 1000, "mailboxes")
    for _ in range(2000):
        clock[0] += 0.001
        progress.step()
    assert 9 <= drawn().count("\r") <= 11


def test_no_progress_is_shown_for_what_takes_less_than_a_second(drawn, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = Console().progress(lambda: 9, "mailboxes")
    for _ in range(9):
        clock[0] += 0.11
        progress.step()
    progress.close()
    assert drawn() == ""


@pytest.mark.parametrize("count, text", [(0, "0 boxes"), (1, "1 box"), (2000, "2,000 boxes")])
def test_plural_forms(count, text):
    assert counted(count, "box", "boxes") == text
    assert counted(count, "day") == text.replace("boxes", "days").replace("box", "day")


def test_progress_survives_more_than_was_announced(drawn, monkeypatch):
    progress = Progress(0, "mailboxes")
    monkeypatch.setattr(Progress, "INTERVAL", 0)
    monkeypatch.setattr(Progress, "PATIENCE", 0)
    progress.step()
    assert "1 of 1 mailboxes" in drawn()


def test_no_progress_without_a_terminal_or_with_json(drawn):
    Console(as_json=True).progress(lambda: pytest.fail("counted for nobody"), "x").step()
    assert drawn() == ""
