"""What `wire` keeps about what it did."""

import tempfile

import pytest

from chatmaild.admin.wiring import record
from chatmaild.admin.wiring.record import Record
from chatmaild.admin.wiring.steps import Kind, Step


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "DIRECTORY", str(tmp_path / "wiring"))
    (tmp_path / "wiring").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "wiring"


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


def test_the_copy_of_main_cf_of_a_killed_run_goes(directory):
    temporary = directory.parent
    for name in ("chatmaild-wiring-a1b2c3d4", "systemd-private-a1b2c3d4"):
        (temporary / name).mkdir()
        (temporary / name / "main.cf").write_text("biff = no\n")
    (temporary / "chatmaild-wiring-link").symlink_to(temporary / "systemd-private-a1b2c3d4")
    with record.alone():
        assert not (temporary / "chatmaild-wiring-a1b2c3d4").exists()
        assert (temporary / "systemd-private-a1b2c3d4" / "main.cf").exists()
