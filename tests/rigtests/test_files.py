"""Files of a running server: whole at every moment, compared, and put back."""

import os
import stat
import threading

import pytest
from rig import files


def test_whoever_reads_meanwhile_gets_the_old_or_the_new_whole(tmp_path):
    path = tmp_path / "main.cf"
    texts = {b"a" * 200_000, b"b" * 100_000}
    files.replace(path, "a" * 200_000)
    over = threading.Event()

    def write():
        for number in range(200):
            files.replace(path, sorted(texts)[number % 2])
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        assert path.read_bytes() in texts
    writer.join()


def test_a_file_is_kept_whatever_happens(tmp_path):
    path = tmp_path / "main.cf"
    path.write_text("a = 1\n")
    with pytest.raises(ZeroDivisionError), files.kept(path):
        path.write_text("a = 2\n")
        raise ZeroDivisionError
    assert path.read_text() == "a = 1\n"


def test_mode_and_links_stay_and_a_new_file_is_for_all(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    files.replace(path, b"old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o640)
    link.symlink_to(path)
    files.replace(link, "new")
    assert link.is_symlink() and path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def change_content(top):
    (top / "main.cf").write_text("a = 2\n")


def change_mode(top):
    (top / "main.cf").chmod(0o600)


def remove(top):
    (top / "conf.d/ours").unlink()
    (top / "conf.d").rmdir()


def add(top):
    (top / "new.d").mkdir()
    (top / "new.d/file").touch()


def change_type(top):
    (top / "main.cf").unlink()
    (top / "main.cf").mkdir()


def change_link(top):
    (top / "link").unlink()
    (top / "link").symlink_to("elsewhere")


@pytest.mark.parametrize("change, said", [
    (change_content, ["main.cf: another content: - a = 1 + a = 2"]),
    (change_mode, ["main.cf: mode 100600, before 100644"]),
    (remove, ["conf.d: is gone", "conf.d/ours: is gone"]),
    (add, ["new.d: was not there before", "new.d/file: was not there before"]),
    (change_type, ["main.cf: mode 40755, before 100644"]),
    (change_link, ["link: another content: - main.cf + elsewhere"]),
])
def test_what_changed_is_told_and_put_back(tmp_path, change, said):
    os.umask(0o022)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/ours").write_text("x")
    (tmp_path / "main.cf").write_text("a = 1\n")
    (tmp_path / "link").symlink_to("main.cf")
    before = files.look([tmp_path])
    assert not list(files.differences(before, before))
    change(tmp_path)
    found = files.differences(before, files.look([tmp_path]))
    assert [f"{path.relative_to(tmp_path)}: {how}" for path, how in found] == said
    files.restore(before, [tmp_path])
    assert files.look([tmp_path]) == before


def test_the_last_change_is_told_of_what_is_below(tmp_path):
    (tmp_path / "conf.d").mkdir()
    file = tmp_path / "conf.d/ours"
    file.touch()
    newest = file.lstat().st_ctime_ns
    assert files.last_change([tmp_path]) >= newest
    assert files.last_change([tmp_path / "gone"]) == 0
