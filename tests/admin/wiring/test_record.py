"""What `wire` keeps about what it did."""

import pytest

from chatmaild.admin.wiring import record
from chatmaild.admin.wiring.record import Record
from chatmaild.admin.wiring.steps import Kind, Step


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "DIRECTORY", str(tmp_path))
    return tmp_path


def test_read_as_it_was_saved(directory):
    saved = Record(before={"/a": b"\xff", "/b": None}, after={"/a": b"x", "/b": b""}, inotify=128,
                   steps=(Step(Kind.PARAMETER, "/a", "biff", "no", None, "why", ("code",)),),
                   under_way={"/a": b"\xff"}, aim={"/a": None}, made=("/etc/x", "/etc/x/y"))
    record.save(saved)
    assert record.load() == saved


def test_what_a_killed_run_was_writing_goes(directory):
    for name in ("record.json", "record.json.123-0a0b0c0d.tmp", "admin's notes"):
        (directory / name).touch()
    with record.alone():
        assert sorted(path.name for path in directory.iterdir()) == ["admin's notes", "record.json"]
