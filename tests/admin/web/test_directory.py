"""Files of a web site are replaced whole, and none that is not ours."""

import os

import pytest

from chatmaild.admin.web import directory
from chatmaild.errors import StoreError

FILES = {"index.html": b"one", "de/index.html": b"two"}


def content(place):
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*"))
            if path.is_file() and path.name != directory.MANIFEST}


def test_what_has_not_changed_is_not_touched(tmp_path):
    assert directory.write(tmp_path, FILES) == ["de/index.html", "index.html"]
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))      # a new file may have the number of the old inode, but not this
    assert directory.write(tmp_path, FILES) == []
    assert {path.stat().st_mtime for path in tmp_path.rglob("*")} == {0}


def test_everybody_may_read(tmp_path):
    old = os.umask(0o077)
    try:
        directory.write(tmp_path, {"index.html": b"one"})
    finally:
        os.umask(old)
    assert (tmp_path / "index.html").stat().st_mode & 0o777 == 0o644


def test_a_directory_is_open_whatever_the_umask(tmp_path):
    old = os.umask(0o077)
    try:
        directory.write(tmp_path, {"de/index.html": b"one"})
    finally:
        os.umask(old)
    assert (tmp_path / "de").stat().st_mode & 0o777 == 0o755


def test_pages_that_are_no_longer_needed_go_and_others_stay(tmp_path):
    directory.write(tmp_path, FILES)
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    assert directory.write(tmp_path, {"index.html": b"new"}) == ["index.html", "de/index.html"]
    assert content(tmp_path) == {"index.html": b"new", "photo.jpg": b"mine"}
    assert not (tmp_path / "de").exists()


@pytest.mark.parametrize("before", [{}, {"index.html": b"written"}], ids=["foreign", "changed"])
def test_what_is_not_ours_is_not_overwritten(tmp_path, before):
    directory.write(tmp_path, before)
    (tmp_path / "index.html").write_bytes(b"of somebody")
    with pytest.raises(StoreError, match="index.html: not as chatmaild wrote it"):
        directory.write(tmp_path, FILES)
    assert content(tmp_path) == {"index.html": b"of somebody"}
    assert "index.html: not written by chatmaild" in directory.differences(tmp_path, FILES)


def test_one_of_ours_that_somebody_changed_is_not_taken_away(tmp_path):
    directory.write(tmp_path, FILES)
    (tmp_path / "de/index.html").write_bytes(b"of somebody")
    directory.write(tmp_path, {"index.html": b"one"})
    assert content(tmp_path)["de/index.html"] == b"of somebody"


def test_differences(tmp_path):
    assert directory.differences(tmp_path, FILES) == ["de/index.html: missing",
                                                      "index.html: missing"]
    directory.write(tmp_path, FILES)
    assert directory.differences(tmp_path, FILES) == []
    assert directory.differences(tmp_path, {"index.html": b"new"}) == [
        "index.html: out of date", "de/index.html: no longer needed"]


@pytest.mark.parametrize("killed_at", range(1, 4))
def test_killed_between_two_files_the_next_run_goes_on(tmp_path, monkeypatch, killed_at):
    """The manifest and each page are put in place by a rename."""
    directory.write(tmp_path, FILES)
    renamed, really = [], os.rename

    def rename(source, target):
        renamed.append(target)
        if len(renamed) == killed_at:
            raise KeyboardInterrupt
        really(source, target)

    new = {name: content + b", new" for name, content in FILES.items()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            directory.write(tmp_path, new)
    assert all(content in (FILES[name], new[name]) for name, content in content_of(tmp_path))
    directory.write(tmp_path, new)
    assert dict(content_of(tmp_path)) == new


def content_of(place):
    return [(name, octets) for name, octets in content(place).items() if name in FILES]


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    directory.write(tmp_path, FILES)

    def write(fd, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StoreError, match="No space left"):
            directory.write(tmp_path, {"index.html": b"new"})
    assert content(tmp_path) == FILES


@pytest.mark.parametrize("text", ["{", "[]", '{"../x": []}', '{"/etc/passwd": []}', '{"a": 1}'])
def test_a_manifest_that_is_not_ours(tmp_path, text):
    (tmp_path / directory.MANIFEST).write_text(text)
    with pytest.raises(StoreError, match="remove it"):
        directory.write(tmp_path, FILES)
