"""The last good configuration: kept while the file is in order, used while it is not."""

import os
import stat

import pytest

from chatmaild.config import inifile, lastgood
from chatmaild.errors import ConfigError, StoreError

GOOD = "[chatmaild]\nmail_domains = chat.example\nmax_mailbox_size = 7M\n"


@pytest.fixture
def ini(tmp_path):
    path = tmp_path / "chatmaild.ini"
    path.write_text(GOOD)
    return path


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "last-good.ini"


def test_a_file_in_order_is_what_counts(ini, copy):
    lastgood.keep(ini, copy)
    ini.write_text("[chatmaild]\nmail_domains = other.example\n")
    loaded = lastgood.load(ini, copy)
    assert list(loaded.config.domains) == ["other.example"] and not loaded.problems


@pytest.mark.parametrize("broken", [
    "[chatmaild]\nmail_domain = chat.example\n", "a key in no section = 1\n", "\0" * 10, None])
def test_a_broken_or_missing_file_leaves_the_last_good_one_in_use(ini, copy, broken):
    lastgood.keep(ini, copy)
    if broken is None:
        ini.unlink()
    else:
        ini.write_text(broken)
    loaded = lastgood.load(ini, copy)
    assert loaded.config.domains["chat.example"].max_mailbox_size == 7 << 20
    assert loaded.config.path == ini
    assert loaded.problems and all(str(ini) in problem for problem in loaded.problems)
    assert str(copy) in loaded.problems[-1]


def test_the_mistakes_are_named_when_there_is_no_copy(ini, copy):
    ini.write_text("[chatmaild]\nmail_domain = chat.example\n")
    with pytest.raises(ConfigError, match="did you mean mail_domains"):
        lastgood.load(ini, copy)


def test_a_copy_of_another_file_is_not_used(ini, copy, tmp_path):
    lastgood.keep(ini, copy)
    other = tmp_path / "other.ini"
    other.write_text("[chatmaild]\nmail_domain = other.example\n")
    with pytest.raises(ConfigError, match="other.ini:2"):
        lastgood.load(other, copy)
    assert not lastgood.is_outdated(other, copy)


@pytest.mark.parametrize("damaged", [lambda content: b"", lambda content: content + b"\xff\n"])
def test_a_damaged_copy_is_none(ini, copy, damaged):
    lastgood.keep(ini, copy)
    copy.write_bytes(damaged(copy.read_bytes()))
    ini.write_text("[chatmaild]\nmail_domain = chat.example\n")
    with pytest.raises(ConfigError, match="did you mean mail_domains"):
        lastgood.load(ini, copy)


def test_a_broken_file_does_not_replace_the_copy(ini, copy):
    lastgood.keep(ini, copy)
    kept = copy.read_bytes()
    ini.write_text("[chatmaild]\nmail_domain = chat.example\n")
    with pytest.raises(ConfigError):
        lastgood.keep(ini, copy)
    assert copy.read_bytes() == kept


def test_the_copy_is_readable_for_every_service_whatever_the_umask(ini, copy):
    before = os.umask(0o077)
    try:
        lastgood.keep(ini, copy)
    finally:
        os.umask(before)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o644


def test_nothing_is_written_twice(ini, copy):
    lastgood.keep(ini, copy)
    inode = copy.stat().st_ino
    lastgood.keep(ini, copy)
    assert copy.stat().st_ino == inode
    assert not lastgood.is_outdated(ini, copy)
    ini.write_text(GOOD + "# changed\n")
    assert lastgood.is_outdated(ini, copy)
    lastgood.keep(ini, copy)
    assert copy.stat().st_ino != inode and not lastgood.is_outdated(ini, copy)


def test_a_disk_that_refuses_is_named(ini, tmp_path):
    with pytest.raises(StoreError, match="missing/last-good.ini: No such file"):
        lastgood.keep(ini, tmp_path / "missing/last-good.ini")


def test_what_an_editor_puts_in_front_is_left_out(ini, copy):
    ini.write_bytes(inifile.BOM + GOOD.encode())
    lastgood.keep(ini, copy)
    ini.unlink()
    assert list(lastgood.load(ini, copy).config.domains) == ["chat.example"]
