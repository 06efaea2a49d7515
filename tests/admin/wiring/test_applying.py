"""A plan that cannot be carried out leaves no trace."""

import resource

import pytest

from chatmaild.admin.wiring import applying, record
from chatmaild.admin.wiring.steps import Kind, Plan, Step, WiringError


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Where the record is; no server runs here."""
    monkeypatch.setattr(record, "DIRECTORY", str(tmp_path / "wiring"))
    monkeypatch.setattr(applying, "reload", lambda paths: None)
    return tmp_path


def written(path):
    return Step(Kind.FILE, str(path), "", None, "x = 1\n", "a test")


def apply(path):
    plan = Plan((written(path),))
    with record.alone():
        applying.apply(plan, lambda: plan)


def test_a_file_that_cannot_be_written(directory):
    said = "too long: File name too long; everything was taken back"
    with pytest.raises(WiringError, match=said):
        apply(directory / "made/for/it" / ("too long" * 30))
    assert record.load() == record.Record()
    assert [path.name for path in directory.rglob("*")] == ["wiring"]


def test_no_room_for_the_record(directory):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(WiringError, match="record.json: File too large"):
            apply(directory / "60.conf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in directory.rglob("*")] == ["wiring"]


def test_a_file_of_ours_that_somebody_changed_is_kept_beside(directory):
    path = directory / "60.conf"
    path.write_text("x = 2\n")
    known = record.Record({str(path): None}, {str(path): b"x = 1\n"}, (written(path),))
    found = applying.returning(known)
    assert found.describe(known) == [
        f"{path}: removed",
        f"{path}.changed: written: our file with somebody's changes, which nothing reads"]
    assert found.left == [f"{path}: changed since; kept as {path}.changed"]
